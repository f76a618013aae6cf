"""Bindings as data: which record at an external system is which of ours."""

from __future__ import annotations

from marshmallow import fields, validate

from contracts.schema import ById, Identifier, Record, Text


class Binding(Record):
    """Which record at the target is one of ours: what changes in ours is brought to that one."""

    connection_id = Identifier(required=True)
    entity = fields.String(required=True)
    local_id = fields.String(required=True)
    external_id = fields.String(required=True)


class BindRecord(ById):
    """Says which record at the target of the connection is one of ours, as a person has found it there.

    For what may have been made there while its answer was lost, at a target that cannot be asked. It is looked at
    first; nothing is sent for it: the next version, or the delivery that is sent again, changes the record there.
    """

    entity = fields.String(required=True, validate=validate.Length(min=1, max=40))
    local_id = fields.String(required=True, validate=validate.Length(min=1, max=64))
    external_id = Text(required=True, least=1, most=200)
    reason = Text(required=True, least=1, most=500)
