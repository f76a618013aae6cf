"""Adapters as data: what this installation can be connected to."""

from __future__ import annotations

from marshmallow import fields

from contracts.schema import OneOf, Record, Request

GUARANTEES = ("effectively_once", "at_least_once")


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
