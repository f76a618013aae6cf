"""Routes as data: which entity travels over which connection, and which way."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from contracts.schema import ById, Identifier, OneOf, PageRequest, Record, Request, Text, Timestamp

DIRECTIONS = ("push", "pull", "both")
OWNERS = ("local", "remote", "latest", "manual")
ON_MISSING = ("recreate", "conflict")
STATES = ("draft", "active", "inactive")


def _owners(**kwargs: Any) -> fields.Dict:
    return fields.Dict(
        keys=fields.String(validate=validate.Length(max=60)), values=fields.String(validate=OneOf(*OWNERS)),
        metadata={"description": (
            "Field → whose it is where both sides have changed it since they agreed: `local` the hub's, `remote` the "
            "target's, `latest` that of the side which changed its record last, `manual` a person's: each side keeps "
            "its own, a conflict is opened, and the field is sent again once that is decided.")}, **kwargs)


def _filter(**kwargs: Any) -> fields.String:
    return fields.String(allow_none=True, validate=validate.Length(min=1, max=1000), metadata={"description": (
        "JMESPath over our record: those for which it is true are made there, and those that they need. What stands "
        "there is kept up to date, whatever it says. Null: every record.")}, **kwargs)


def _on_missing(**kwargs: Any) -> fields.String:
    return fields.String(validate=OneOf(*ON_MISSING), metadata={"description": (
        "What becomes of a record that has gone there when it is to be changed: it is made anew (`recreate`), or a "
        "person is asked (`conflict`).")}, **kwargs)


class Route(Record):
    """Which entity travels over a connection, and which way."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    connection_id = Identifier(required=True)
    entity = fields.String(required=True)
    direction = fields.String(required=True, validate=OneOf(*DIRECTIONS))
    state = fields.String(required=True, validate=OneOf(*STATES))
    mapping_version = fields.Integer(allow_none=True, metadata={
        "description": "The version of its mapping that is in force; null: records are sent as they are."})
    mapping_problem = fields.String(required=True, allow_none=True, metadata={
        "description": "Why that version, which was saved once, is used no more: nothing of the entity is sent."})
    filter = _filter(required=True)
    owners = _owners(required=True)
    on_missing = _on_missing(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class CreateRoute(Request):
    """Drafts a route; it carries nothing until it is activated."""

    connection_id = Identifier(required=True)
    entity = fields.String(required=True, validate=validate.Length(min=1, max=40))
    direction = fields.String(required=True, validate=OneOf(*DIRECTIONS))
    filter = _filter(load_default=None)
    owners = _owners(load_default=dict)
    on_missing = _on_missing(load_default="recreate")


class RouteChanges(Request):
    """What may be changed; a field left out stays as it is. `owners` is replaced as a whole: a field that it does not
    name has its usual owner."""

    direction = fields.String(validate=OneOf(*DIRECTIONS))
    filter = _filter()
    owners = _owners()
    on_missing = _on_missing()


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
    state = fields.String(validate=OneOf(*STATES))


class CodeCheck(Record):
    """How far the codes of our records were looked up before something was switched: the newest first, as many as there
    was time for. Of what is older (`complete` is false) a code without a counterpart tells itself when it is sent."""

    records = fields.Integer(required=True, metadata={"description": "How many were looked at."})
    complete = fields.Boolean(required=True, metadata={"description": "Whether those were all."})


class ActivatedRoute(Route):
    """A route that was switched on; `code_check` is null where nothing of it looks up a code."""

    code_check = fields.Nested(CodeCheck, required=True, allow_none=True)


class ActivateRoute(ById):
    """Switches a route on. Refused with every gap named (`gaps`) until the connection has been checked and is ready,
    while its mapping cannot be used, and while records use codes that its code tables lack.

    One that has never pushed customers or contacts is refused (`needs`: `match`) while the target has such records and
    no match run over them has been completed; with `without_matching`, and a `reason`, it is not.
    """

    without_matching = fields.Boolean(load_default=False, metadata={
        "description": "Nothing there can be a record of ours: it takes a `reason`."})
    reason = Text(load_default="", most=500)


class DeactivateRoute(ById):
    """Switches a route off; what it accepted before is still delivered."""
