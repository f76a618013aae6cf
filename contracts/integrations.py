"""What the integrations service is asked, answers and announces, and what it reports of the targets."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from contracts import errors, mappings, runs
from contracts.event import EventType
from contracts.operation import Operation, Permission
from contracts.schema import (
    ById,
    Empty,
    Entries,
    Identifier,
    OneOf,
    PageRequest,
    Record,
    Request,
    Sensitive,
    SensitiveObject,
    Text,
    Timestamp,
    page_of,
)

SERVICE = "integrations"

KINDS = ("erp", "marketing", "oa", "finance", "webhook", "other")
DESIRED_STATES = ("active", "paused", "stopped")
HEALTH = ("ok", "throttled", "open", "half_open", "auth_failed", "mapping_fault")
DIRECTIONS = ("push", "pull", "both")
ROUTE_STATES = ("draft", "active", "inactive")
CONFLICT_STATES = ("open", "resolved")
RESOLUTIONS = ("keep_local", "keep_remote", "dismissed")
DELIVERY_STATES = ("pending", "leased", "retry_wait", "in_doubt", "blocked",
                   "delivered", "skipped", "superseded", "dead", "cancelled")
PUBLIC = ("product",)
"""Entities whose records hold nothing about a person."""
GUARANTEES = ("effectively_once", "at_least_once")

CONNECTION_READ = Permission("connection", "read")
CONNECTION_CREATE = Permission("connection", "create")
CONNECTION_CHANGE = Permission("connection", "change")
CONNECTION_OPERATE = Permission("connection", "operate")
ROUTE_READ = Permission("route", "read")
ROUTE_CREATE = Permission("route", "create")
ROUTE_OPERATE = Permission("route", "operate")
DELIVERY_READ = Permission("delivery", "read")
DELIVERY_OPERATE = Permission("delivery", "operate")
CONFLICT_READ = Permission("conflict", "read")
CONFLICT_OPERATE = Permission("conflict", "operate")


# --- adapters -----------------------------------------------------------------------------------------------------


class Adapter(Record):
    """What one kind of external system can do, and what it needs to be told."""

    name = fields.String(required=True)
    version = fields.String(required=True)
    title = fields.String()
    entities = fields.List(fields.String(), required=True)
    pulled = fields.List(fields.String(), required=True)
    capabilities = fields.List(fields.String(), required=True)
    guarantee = fields.String(required=True, validate=OneOf(*GUARANTEES))
    accounts = fields.List(fields.String(), required=True, metadata={
        "description": "Entities whose records lie in the account of the person they are assigned to."})
    consent = fields.Dict(keys=fields.String(), values=fields.String(), required=True, metadata={
        "description": "Entity → the channel for which consent must be granted before a record goes there."})
    config_schema = fields.Dict(required=True)
    record_schemas = fields.Dict(keys=fields.String(), values=fields.Dict(), metadata={
        "description": "Entity → JSON Schema of what the target takes of a record: what a mapping can fill."})
    secret_fields = fields.List(fields.String(), required=True)


class AdapterList(Record):
    """Every adapter that this installation carries."""

    items = fields.List(fields.Nested(Adapter), required=True)


class ListAdapters(Request):
    """All adapters, with what each can do and what its connections need to be told."""


# --- connections --------------------------------------------------------------------------------------------------


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
    rate_per_s = fields.Float(validate=validate.Range(min=0.01, max=10_000))
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
    """Stops new calls at once; deliveries wait, nothing is discarded and no attempt is used."""

    reason = Text(load_default="", most=500)


class ResumeConnection(ById):
    """Lets deliveries flow again; after a refused or withdrawn credential, once a check has passed."""


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


# --- routes -------------------------------------------------------------------------------------------------------


class Route(Record):
    """Which entity travels over a connection, and which way."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    connection_id = Identifier(required=True)
    entity = fields.String(required=True)
    direction = fields.String(required=True, validate=OneOf(*DIRECTIONS))
    state = fields.String(required=True, validate=OneOf(*ROUTE_STATES))
    mapping_version = fields.Integer(allow_none=True, metadata={
        "description": "The version of its mapping that is in force; null: records are sent as they are."})
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class CreateRoute(Request):
    """Drafts a route; it carries nothing until it is activated."""

    connection_id = Identifier(required=True)
    entity = fields.String(required=True, validate=validate.Length(min=1, max=40))
    direction = fields.String(required=True, validate=OneOf(*DIRECTIONS))


class RouteChanges(Request):
    """What may be changed; a field left out stays as it is."""

    direction = fields.String(validate=OneOf(*DIRECTIONS))


class ChangeRoute(ById):
    """Changes a route that is still at `expected_version`.

    One that is to read from now on begins with what stands at the target: that is remembered, and what changes after it
    is told. Only what is new there, and refusals of consent, are told at once.
    """

    expected_version = fields.Integer(required=True)
    changes = fields.Nested(RouteChanges, required=True)


class ListRoutes(PageRequest):
    """Lists routes, newest first."""

    connection_id = Identifier()
    entity = fields.String()
    state = fields.String(validate=OneOf(*ROUTE_STATES))


class ActivateRoute(ById):
    """Switches a route on. Refused with every gap named (`gaps`) until the connection has been checked and is ready,
    and while records use codes that its code tables lack."""


class DeactivateRoute(ById):
    """Switches a route off; what it accepted before is still delivered."""


# --- deliveries ---------------------------------------------------------------------------------------------------


class Delivery(Record):
    """One change to bring to one connection."""

    id = Identifier(required=True)
    connection_id = Identifier(required=True)
    entity = fields.String(required=True)
    local_id = fields.String(required=True)
    external_id = fields.String(allow_none=True)
    op = fields.String(required=True)
    state = fields.String(required=True, validate=OneOf(*DELIVERY_STATES))
    source_event_id = fields.String(allow_none=True)
    source_version = fields.Integer(required=True)
    mapping_version = fields.Integer(allow_none=True)
    attempts = fields.Integer(required=True, metadata={
        "description": "Failures so far that count towards the last attempt; 0 when the first try succeeded."})
    deferrals = fields.Integer(required=True)
    due_at = Timestamp(required=True)
    deadline_at = Timestamp(allow_none=True)
    error_class = fields.String(allow_none=True)
    last_error = fields.String(allow_none=True)
    blocked_on = fields.String(allow_none=True)
    superseded_by = fields.String(allow_none=True)
    replay_of = fields.String(allow_none=True)
    origin = fields.String(required=True)
    created_at = Timestamp(required=True)
    settled_at = Timestamp(allow_none=True)


class ListDeliveries(PageRequest):
    """Lists deliveries, newest first."""

    connection_id = Identifier()
    state = fields.String(validate=OneOf(*DELIVERY_STATES))
    entity = fields.String()
    local_id = fields.String(validate=validate.Length(max=64))
    error_class = fields.String(validate=validate.Length(max=40))
    created_from = Timestamp()
    created_to = Timestamp()


class RetryDelivery(ById):
    """Sends a dead delivery again, as a delivery of its own (`replay_of`): the record as it is now.

    Each is sent again once, however often it is asked; should that one die too, it can be sent again in turn.
    """

    reason = Text(load_default="", most=500)


class Attempt(Record):
    """One call for a delivery: what was asked, what came back, how long it took."""

    id = Identifier(required=True)
    delivery_id = Identifier(required=True)
    n = fields.Integer(required=True)
    action = fields.String(required=True)
    started_at = Timestamp(required=True)
    ended_at = Timestamp(allow_none=True)
    outcome = fields.String(allow_none=True)
    error_class = fields.String(allow_none=True)
    http_status = fields.Integer(allow_none=True)
    retry_after_s = fields.Float(allow_none=True)
    duration_ms = fields.Integer(allow_none=True)
    request_preview = fields.String(allow_none=True)
    response_preview = fields.String(allow_none=True)
    trace_id = fields.String(allow_none=True)


class ListAttempts(PageRequest):
    """Lists the attempts of one delivery, first to last."""

    id = Identifier(required=True)


class DeliveriesOfRecord(PageRequest):
    """Lists the deliveries of one record of the hub, newest first, for whoever has been let in to that record."""

    entity = fields.String(required=True, validate=validate.Length(min=1, max=40))
    local_id = fields.String(required=True, validate=validate.Length(max=64))
    previews = fields.Boolean(load_default=False)


class Fate(Record):
    """How a delivery stands, why, and what comes next."""

    id = Identifier(required=True)
    state = fields.String(required=True, validate=OneOf(*DELIVERY_STATES))
    error_class = fields.String(required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)
    next_step = fields.Dict(keys=fields.String(), values=fields.String(), required=True, metadata={
        "description": "What happens next, or what to do, by language: `en`, `zh-CN`."})


class Awaited(Fate):
    """The latest delivery of the record that another one needs there first."""

    entity = fields.String(required=True)
    local_id = fields.String(required=True)


class DeliveryTold(Fate):
    """One change that was, or is, to be brought to another system.

    `needs` is the record without which it cannot go, if that is what keeps it. `tries` are its calls, the latest last,
    at most 20; what they sent and got shows by the right `delivery:read` alone.
    """

    connection_id = Identifier(required=True)
    connection = fields.String(required=True)
    op = fields.String(required=True)
    needs = fields.Nested(Awaited, required=True, allow_none=True)
    due_at = Timestamp(required=True)
    created_at = Timestamp(required=True)
    settled_at = Timestamp(required=True, allow_none=True)
    tries = fields.List(fields.Nested(Attempt), required=True)


# --- accounts -----------------------------------------------------------------------------------------------------


class Account(Record):
    """Which account at the target is a user's: what is assigned to the user is brought there."""

    connection_id = Identifier(required=True)
    user_id = Identifier(required=True)
    account = fields.String(required=True)


class AccountOf(ById):
    """The account of one user."""

    user_id = Identifier(required=True)


class PutAccount(AccountOf):
    """Says which account is a user's. Whole and without If-Match: the last one counts. What waited for it goes on."""

    account = Text(required=True, least=1, most=200)


class DeleteAccount(AccountOf):
    """Forgets a user's account; what lies in it stays there."""


# --- conflicts ----------------------------------------------------------------------------------------------------


class Conflict(Record):
    """What a target reports and the hub cannot apply, or the other way round: a person decides.

    `fields` are those in dispute, none for the whole record; `local_id` is our record, if one is bound.
    """

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    connection_id = Identifier(required=True)
    entity = fields.String(required=True)
    external_id = fields.String(required=True)
    local_id = fields.String(required=True, allow_none=True)
    code = fields.String(required=True)
    reason = fields.String(required=True)
    remote_version = fields.String(required=True, allow_none=True)
    state = fields.String(required=True, validate=OneOf(*CONFLICT_STATES))
    resolution = fields.String(required=True, allow_none=True, validate=OneOf(*RESOLUTIONS))
    note = fields.String(required=True, allow_none=True)
    opened_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)
    resolved_at = Timestamp(required=True, allow_none=True)
    resolved_by = fields.String(required=True, allow_none=True)
    # Last, for the name hides the module of the field types; marshmallow keeps it apart from its own attribute.
    fields = fields.List(fields.String(), required=True)  # type: ignore[assignment]


class ListConflicts(PageRequest):
    """Lists conflicts, newest first."""

    connection_id = Identifier()
    entity = fields.String(validate=validate.Length(max=40))
    local_id = fields.String(validate=validate.Length(max=64))
    state = fields.String(validate=OneOf(*CONFLICT_STATES))


class ResolveConflict(ById):
    """Decides a conflict: `keep_local` brings our record there again, `keep_remote` tells the owner again what stands
    there now, `dismissed` leaves both as they are."""

    resolution = fields.String(required=True, validate=OneOf(*RESOLUTIONS))
    note = Text(load_default="", most=500)


# --- messages of webhooks -----------------------------------------------------------------------------------------


class ReceiveInbound(Request):
    """A message of a target's webhook, byte for byte as it was signed. Nobody has signed in: its signature speaks."""

    connection_id = Identifier(required=True)
    headers = SensitiveObject(required=True)
    body = Sensitive(required=True, metadata={"description": "The raw body, in base64."})


class Received(Record):
    """What came of a message: how many changes it told, and whether it had been taken in before."""

    changes = fields.Integer(required=True)
    known = fields.Boolean(required=True)


# --- operations ---------------------------------------------------------------------------------------------------


def _operation(name: str, summary: str, request: type[Request], response: type[Record], permission: Permission,
               *raises: type[errors.HubError], mutates: bool = True, timeout_s: float = 5.0,
               audited: str = "") -> Operation:
    return Operation(SERVICE, name, request, response, permission, errors=raises, mutates=mutates,
                     summary=summary, timeout_s=timeout_s, audited=audited)


LIST_ADAPTERS = _operation("list_adapters", "List the adapters of this installation",
                           ListAdapters, AdapterList, CONNECTION_READ, mutates=False)
CREATE_CONNECTION = _operation("create_connection", "Set up a connection",
                               CreateConnection, Connection, CONNECTION_CREATE,
                               errors.AlreadyExists, errors.Invalid, audited="connection")
GET_CONNECTION = _operation("get_connection", "Read a connection",
                            ById, Connection, CONNECTION_READ, errors.NotFound, mutates=False)
LIST_CONNECTIONS = _operation("list_connections", "List connections",
                              ListConnections, page_of(Connection), CONNECTION_READ, mutates=False)
CHANGE_CONNECTION = _operation("change_connection", "Change a connection",
                               ChangeConnection, Connection, CONNECTION_CHANGE,
                               errors.NotFound, errors.StaleVersion, errors.AlreadyExists, errors.Invalid,
                               audited="connection")
CHECK_CONNECTION = _operation("check_connection", "Check a connection", CheckConnection, Check, CONNECTION_OPERATE,
                              errors.NotFound, timeout_s=35.0)
PAUSE_CONNECTION = _operation("pause_connection", "Pause a connection",
                              PauseConnection, Connection, CONNECTION_OPERATE, errors.NotFound, audited="connection")
RESUME_CONNECTION = _operation("resume_connection", "Resume a connection",
                               ResumeConnection, Connection, CONNECTION_OPERATE,
                               errors.NotFound, errors.Conflict, audited="connection")
PUT_CREDENTIAL = _operation("put_credential", "Replace the credential of a connection",
                            PutCredential, Credential, CONNECTION_CHANGE,
                            errors.NotFound, errors.Invalid, audited="connection")
PULL_NOW = _operation("pull_now", "Ask the external system for changes now",
                      PullNow, Pulls, CONNECTION_OPERATE, errors.NotFound, errors.Conflict)
GET_LEDGER = _operation("get_ledger", "Read what became of everything accepted",
                        GetLedger, Ledger, CONNECTION_READ, errors.NotFound, mutates=False)
CREATE_ROUTE = _operation("create_route", "Draft a route", CreateRoute, Route, ROUTE_CREATE,
                          errors.NotFound, errors.AlreadyExists, errors.Invalid, audited="route")
GET_ROUTE = _operation("get_route", "Read a route", ById, Route, ROUTE_READ, errors.NotFound, mutates=False)
LIST_ROUTES = _operation("list_routes", "List routes", ListRoutes, page_of(Route), ROUTE_READ, mutates=False)
CHANGE_ROUTE = _operation("change_route", "Change a route", ChangeRoute, Route, ROUTE_CREATE,
                          errors.NotFound, errors.StaleVersion, errors.Invalid, audited="route")
ACTIVATE_ROUTE = _operation("activate_route", "Switch a route on", ActivateRoute, Route, ROUTE_OPERATE,
                            errors.NotFound, errors.Conflict, audited="route", timeout_s=35.0)
DEACTIVATE_ROUTE = _operation("deactivate_route", "Switch a route off",
                              DeactivateRoute, Route, ROUTE_OPERATE, errors.NotFound, audited="route")
GET_DELIVERY = _operation("get_delivery", "Read a delivery",
                          ById, Delivery, DELIVERY_READ, errors.NotFound, mutates=False)
LIST_DELIVERIES = _operation("list_deliveries", "List deliveries",
                             ListDeliveries, page_of(Delivery), DELIVERY_READ, mutates=False)
RETRY_DELIVERY = _operation("retry_delivery", "Send a dead delivery again",
                            RetryDelivery, Delivery, DELIVERY_OPERATE,
                            errors.NotFound, errors.Conflict, errors.InvalidTransition, audited="delivery")
LIST_ATTEMPTS = _operation("list_attempts", "List the attempts of a delivery",
                           ListAttempts, page_of(Attempt), DELIVERY_READ,
                           errors.NotFound, mutates=False)
LIST_DELIVERIES_OF_RECORD = Operation(
    SERVICE, "list_deliveries_of_record", DeliveriesOfRecord, page_of(DeliveryTold), internal=True, mutates=False,
    summary="List what became of bringing a record to other systems")
PUT_ACCOUNT = _operation("put_account", "Say which account is a user's", PutAccount, Account, CONNECTION_CHANGE,
                         errors.NotFound, errors.AlreadyExists, errors.Invalid, audited="connection")
GET_ACCOUNT = _operation("get_account", "Read which account is a user's", AccountOf, Account, CONNECTION_READ,
                         errors.NotFound, mutates=False)
DELETE_ACCOUNT = _operation("delete_account", "Forget a user's account", DeleteAccount, Empty, CONNECTION_CHANGE,
                            errors.NotFound, audited="connection")
GET_CONFLICT = _operation("get_conflict", "Read a conflict", ById, Conflict, CONFLICT_READ, errors.NotFound,
                          mutates=False)
LIST_CONFLICTS = _operation("list_conflicts", "List conflicts", ListConflicts, page_of(Conflict), CONFLICT_READ,
                            mutates=False)
RESOLVE_CONFLICT = _operation("resolve_conflict", "Decide a conflict", ResolveConflict, Conflict, CONFLICT_OPERATE,
                              errors.NotFound, errors.Conflict, errors.InvalidTransition, timeout_s=35.0,
                              audited="conflict")
RECEIVE_INBOUND = Operation(SERVICE, "receive_inbound", ReceiveInbound, Received, internal=True, timeout_s=10.0,
                            errors=(errors.Unauthenticated, errors.BadRequest),
                            summary="Take in a message of a target's webhook")

OPERATIONS = (
    LIST_ADAPTERS, CREATE_CONNECTION, GET_CONNECTION, LIST_CONNECTIONS, CHANGE_CONNECTION, CHECK_CONNECTION,
    PAUSE_CONNECTION, RESUME_CONNECTION, PUT_CREDENTIAL, PULL_NOW, GET_LEDGER, CREATE_ROUTE, GET_ROUTE, LIST_ROUTES,
    CHANGE_ROUTE, ACTIVATE_ROUTE, DEACTIVATE_ROUTE, GET_DELIVERY, LIST_DELIVERIES, RETRY_DELIVERY,
    LIST_ATTEMPTS, LIST_DELIVERIES_OF_RECORD, PUT_ACCOUNT, GET_ACCOUNT, DELETE_ACCOUNT, GET_CONFLICT, LIST_CONFLICTS,
    RESOLVE_CONFLICT, RECEIVE_INBOUND, *runs.OPERATIONS, *mappings.OPERATIONS,
)


# --- events -------------------------------------------------------------------------------------------------------


class _Told(SensitiveObject):
    """What a target told of a record: it may hold anything about anybody, except for a product."""

    def is_public(self, obj: Any) -> bool:
        return bool(obj["entity"] in PUBLIC)


class ExternalChange(Record):
    """A record that a target owns is new, different or gone. `record` is its full state in the hub's own words.

    The event's `entityversion` rises with every change that is told of one record (`connection_id`, `entity`,
    `external_id`); a listener drops what is not above the one it knows, and asks no clock.

    `keys` are ours: `id` of the record that it is bound to, `account_user_id` of the user in whose account it lies.
    """

    connection_id = Identifier(required=True)
    connection = fields.String(required=True)
    entity = fields.String(required=True)
    external_id = fields.String(required=True)
    keys = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    record = _Told(required=True)
    changed = fields.List(fields.String(), allow_none=True, metadata={
        "description": "The fields of `record` that differ from what both sides agreed on last; null or absent: all."})
    deleted = fields.Boolean(required=True)
    remote_version = fields.String(allow_none=True)
    seen_at = Timestamp(required=True)


class ExternalRefusal(Record):
    """The owner of a record could not apply what a target reported of it; a person has to decide.

    Every owner declares it as its own event, `<service>.external.refused`. `fields` are the names of those that were
    not applied, `code` is for programs, `reason` a sentence for people.
    """

    connection_id = Identifier(required=True)
    entity = fields.String(required=True)
    external_id = fields.String(required=True)
    local_id = fields.String(required=True, allow_none=True)
    code = fields.String(required=True)
    reason = fields.String(required=True)
    remote_version = fields.String(required=True, allow_none=True)
    # Last, for the name hides the module of the field types; marshmallow keeps it apart from its own attribute.
    fields = fields.List(fields.String(), required=True)  # type: ignore[assignment]


class DeliverySettled(Record):
    """A delivery has come to its end."""

    delivery_id = Identifier(required=True)
    connection_id = Identifier(required=True)
    connection = fields.String(required=True)
    entity = fields.String(required=True)
    local_id = fields.String(required=True)
    source_version = fields.Integer(required=True)
    external_id = fields.String(allow_none=True)
    state = fields.String(required=True)
    error_class = fields.String(allow_none=True)
    error = fields.String(allow_none=True)


class ConnectionHealth(Record):
    """What is wanted of a connection, or what is seen of it, has changed."""

    connection_id = Identifier(required=True)
    name = fields.String(required=True)
    desired_state = fields.String(required=True)
    health = fields.String(required=True)
    reason = fields.String(allow_none=True)


EXTERNAL_CHANGED = EventType(SERVICE, "external.changed", "external", ExternalChange, schemaversion=2)
DELIVERY_SETTLED = EventType(SERVICE, "delivery.settled", "delivery", DeliverySettled, expects_listener=False)
CONNECTION_HEALTH_CHANGED = EventType(SERVICE, "connection.health_changed", "connection", ConnectionHealth,
                                      expects_listener=False)
EVENTS = (EXTERNAL_CHANGED, DELIVERY_SETTLED, CONNECTION_HEALTH_CHANGED)
