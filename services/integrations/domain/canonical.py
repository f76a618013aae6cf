"""What our records look like, from their contracts: as a JSON Schema, and as examples."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from marshmallow import Schema, fields, validate

from contracts import customers, sales, tasks
from contracts.schema import Money, Sensitive, Timestamp, instance_of

Json = Mapping[str, Any]

CONTRACTS: Mapping[str, type[Schema]] = {
    "customer": customers.Customer, "contact": customers.Contact, "task": tasks.Task, "order": sales.Order}
"""Entity → the record that its events carry, and that is kept of it."""


def of_entity(entity: str) -> Json:
    """Return the JSON Schema of the records of an entity; an empty one of what has no contract."""
    return schema_of(CONTRACTS[entity]) if entity in CONTRACTS else {}


@cache
def schema_of(contract: type[Schema]) -> Json:
    """Return the JSON Schema (2020-12) of a record as it is kept: JSON-ready, in clear, sensitive fields marked."""
    declared = instance_of(contract).dump_fields
    return {"type": "object", "properties": {name: _of(field) for name, field in declared.items()},
            "required": [name for name, field in declared.items() if field.required]}


def _of(field: fields.Field[Any]) -> Json:
    shape: dict[str, Any] = {"type": "string"}
    if isinstance(field, fields.Nested):
        inner = schema_of(type(field.schema))
        shape = {"type": "array", "items": inner} if field.many else dict(inner)
    elif isinstance(field, fields.List):
        shape = {"type": "array", "items": _of(field.inner)}
    elif isinstance(field, fields.Dict):
        shape = {"type": "object", "additionalProperties": _of(field.value_field) if field.value_field else True}
    elif isinstance(field, Timestamp):
        shape["format"] = "date-time"
    elif isinstance(field, Money):
        shape["format"] = "decimal"
    elif isinstance(field, fields.Boolean | fields.Integer | fields.Float):
        shape["type"] = {fields.Boolean: "boolean", fields.Integer: "integer"}.get(type(field), "number")
    if isinstance(field, Sensitive):
        shape["sensitive"] = True
    for validator in field.validators:
        if isinstance(validator, validate.OneOf):
            shape["enum"] = list(validator.choices)
    return shape | {"type": [shape["type"], "null"]} if field.allow_none else shape


_TEXTS = {"date-time": "2026-11-22T08:00:00.000000Z", "decimal": "1.50"}
_VALUES: Json = {"boolean": True, "integer": 1, "number": 1.5}


def examples(schema: Json) -> list[dict[str, Any]]:
    """Return two records of a schema: one with all that it can have, and one with no more than every record has."""
    return [_example(schema, full=True), _example(schema, full=False)]


def _example(schema: Json, *, full: bool) -> Any:
    kinds = schema.get("type", "string")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    if not full and kind != kinds:
        return None
    if kind == "object":
        wanted = schema.get("properties", {})
        return {name: _example(inner, full=full) for name, inner in wanted.items()
                if full or name in schema.get("required", ())}
    if kind == "array":
        return [_example(schema["items"], full=full)] if full else []
    if "enum" in schema:
        return schema["enum"][0]
    return _VALUES.get(kind, _TEXTS.get(schema.get("format", ""), "text"))

