"""Connections as data: the external systems that are set up, how each fares, and what came of what it accepted."""

from __future__ import annotations

from marshmallow import fields, validate

from contracts.adapters import GUARANTEES
from contracts.schema import ById, Entries, Identifier, OneOf, PageRequest, Record, Request, Sensitive, Text, Timestamp

KINDS = ("erp", "marketing", "oa", "finance", "webhook", "other")
DESIRED_STATES = ("active", "paused", "stopped")
HEALTH = ("ok", "throttled", "open", "half_open", "auth_failed", "mapping_fault")


class Problem(Record):
    """One thing that keeps a connection from working; `field` names the setting or code to look at."""

    field = fields.String(required=True)
    message = fields.String(required=True)


class Check(Record):
    """What the last check of a connection found."""

    ok = fields.Boolean(required=True)
    message = fields.String(required=True)
    problems = fields.List(fields.Nested(Problem), required=True)
    checked_at = Timestamp(required=True)


class Connection(Record):
    """One configured external system. What is wanted (`desired_state`) and what is seen (`health`) are two fields."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    name = fields.String(required=True)
    kind = fields.String(required=True, validate=OneOf(*KINDS))
    adapter = fields.String(required=True)
    adapter_version = fields.String(required=True)
    guarantee = fields.String(required=True, validate=OneOf(*GUARANTEES))
    desired_state = fields.String(required=True, validate=OneOf(*DESIRED_STATES))
    health = fields.String(required=True, validate=OneOf(*HEALTH))
    pause_reason = fields.String(allow_none=True)
    paused_by = fields.String(allow_none=True)
    pause_code = fields.String(allow_none=True, metadata={
        "description": "Set when the hub paused it by itself: auth, gone, mapping_fault, in_doubt or address."})
    pause_advice = fields.Dict(keys=fields.String(), values=fields.String(), allow_none=True, metadata={
        "description": "What happened and what to do, by language: `en`, `zh-CN`."})
    config = fields.Dict(required=True)
    has_credential = fields.Boolean(required=True)
    rate_per_s = fields.Float(required=True)
    burst = fields.Integer(required=True)
    max_in_flight = fields.Integer(required=True)
    throttled_until = Timestamp(allow_none=True)
    consecutive_failures = fields.Integer(required=True)
    first_failure_at = Timestamp(allow_none=True)
    breaker_opened_at = Timestamp(allow_none=True, metadata={
        "description": "Since when the external system is taken to be down."})
    breaker_open_until = Timestamp(allow_none=True, metadata={"description": "When it is checked next."})
    last_success_at = Timestamp(allow_none=True)
    check = fields.Nested(Check, allow_none=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class _Limits(Request):
    rate_per_s = fields.Float(validate=validate.Range(min=0.4, max=10_000), metadata={
        "description": "Requests a second, for each process. By the least, a call of ten requests, as the longest are, "
                       "takes 25 s: its whole time."})
    burst = fields.Integer(strict=True, validate=validate.Range(min=1, max=10_000))
    max_in_flight = fields.Integer(strict=True, validate=validate.Range(min=1, max=200))


class CreateConnection(_Limits):
    """Sets up an external system. It starts active; nothing travels until a route is."""

    name = Text(required=True, least=1, most=120)
    kind = fields.String(validate=OneOf(*KINDS))
    adapter = fields.String(required=True, validate=validate.Length(min=1, max=60))
    config = fields.Dict(required=True)


class ConnectionChanges(_Limits):
    """What may be changed; a field left out stays as it is."""

    name = Text(least=1, most=120)
    kind = fields.String(validate=OneOf(*KINDS))
    config = fields.Dict()


class ChangeConnection(ById):
    """Changes a connection that is still at `expected_version`."""

    expected_version = fields.Integer(required=True)
    changes = fields.Nested(ConnectionChanges, required=True)


class ListConnections(PageRequest):
    """Lists connections, newest first."""

    adapter = fields.String()
    desired_state = fields.String(validate=OneOf(*DESIRED_STATES))


class PauseConnection(ById):
    """Lets no more calls be claimed; what is claimed already may still be called, within a turn. All else waits:
    nothing is discarded and no attempt is used."""

    reason = Text(load_default="", most=500)


class StopConnection(ById):
    """Takes a connection out of use: nothing more is claimed or accepted; what is claimed already may still be called,
    within a turn. What waits stays until it is called off, or goes once the connection is resumed; what changes
    meanwhile is not brought there then, but by a reconcile or backfill alone."""

    reason = Text(load_default="", most=500)


class ResumeConnection(ById):
    """Lets deliveries flow again, of one that was stopped too; after a refused or withdrawn credential, once a check
    has passed."""


class CheckConnection(ById):
    """Asks the external system whether it can be worked with: address, credential, rights, codes."""


class PutCredential(ById):
    """Replaces the secret with which a connection signs in. It can be written, never read.

    Whole and without If-Match: nobody can read what it replaces, sending it again changes nothing, and the last counts.
    """

    secrets = Entries(keys=fields.String(validate=validate.Length(min=1, max=60)),
                      values=Sensitive(validate=validate.Length(min=1, max=20_000)), required=True)


class Credential(Record):
    """That there is a credential, and which version; never the secret itself."""

    connection_id = Identifier(required=True)
    version = fields.Integer(required=True)
    status = fields.String(required=True)
    expires_at = Timestamp(allow_none=True)
    updated_at = Timestamp(required=True)


class PullNow(ById):
    """Asks the external system for its changes at once instead of at the next poll."""


class Pulls(Record):
    """The entities that are being asked for."""

    connection_id = Identifier(required=True)
    entities = fields.List(fields.String(), required=True)


class GetLedger(ById):
    """How much a connection accepted, and what became of it: delivered, waiting, given up."""


class Ledger(Record):
    """accepted = delivered + skipped + superseded + dead + cancelled + open, at one moment."""

    connection_id = Identifier(required=True)
    accepted = fields.Integer(required=True)
    delivered = fields.Integer(required=True)
    skipped = fields.Integer(required=True)
    superseded = fields.Integer(required=True)
    dead = fields.Integer(required=True)
    cancelled = fields.Integer(required=True)
    open = fields.Integer(required=True)
    balanced = fields.Boolean(required=True)


class ConnectionHealth(Record):
    """What is wanted of a connection, or what is seen of it, has changed."""

    connection_id = Identifier(required=True)
    name = fields.String(required=True)
    desired_state = fields.String(required=True)
    health = fields.String(required=True)
    reason = fields.String(allow_none=True)
