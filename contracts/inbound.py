"""What external systems tell, as data: webhook messages, changes of records, and what their owners refuse."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from contracts.schema import Identifier, Record, Request, Sensitive, SensitiveObject, Timestamp

PUBLIC = ("product",)
"""Entities whose records hold nothing about a person."""


class ReceiveInbound(Request):
    """A message of a target's webhook, byte for byte as it was signed. Nobody has signed in: its signature speaks."""

    connection_id = Identifier(required=True)
    headers = SensitiveObject(required=True)
    body = Sensitive(required=True, metadata={"description": "The raw body, in base64."})


class Received(Record):
    """What came of a message: how many changes it told, and whether it had been taken in before."""

    changes = fields.Integer(required=True)
    known = fields.Boolean(required=True)


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
