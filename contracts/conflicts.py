"""Conflicts as data: where an external system and the hub do not agree, and what people decide."""

from __future__ import annotations

from marshmallow import fields, validate

from contracts.schema import ById, Identifier, OneOf, PageRequest, Record, Text, Timestamp

STATES = ("open", "resolved")
RESOLUTIONS = ("keep_local", "keep_remote", "dismissed")


class Conflict(Record):
    """What a target reports and the hub cannot apply, or the other way round: a person decides.

    `fields` are those in dispute, none for the whole record: while it is open they are not sent. `local_id` is our
    record, if one is bound.
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
    state = fields.String(required=True, validate=OneOf(*STATES))
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
    state = fields.String(validate=OneOf(*STATES))


class ResolveConflict(ById):
    """Decides a conflict: `keep_local` brings our record there again, `keep_remote` tells the owner again what stands
    there now, `dismissed` leaves both as they are. What would have no effect, or one on another record, is refused with
    what to do instead."""

    resolution = fields.String(required=True, validate=OneOf(*RESOLUTIONS))
    note = Text(load_default="", most=500)
