"""Masks over the values that a finding shows: whoever may see runs need not be let in to people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from marshmallow import Schema, fields

from contracts import customers, masks, sales, tasks
from contracts.schema import Sensitive, instance_of

_RECORDS: Mapping[str, type[Schema]] = {
    "customer": customers.Customer, "contact": customers.Contact, "task": tasks.Task, "order": sales.Order}


def veiled(entity: str, detail: Any) -> Any:
    """Return `detail` with a mask over every value whose field is sensitive in records of `entity`, at any depth."""
    return _veiled(_masks(entity), detail, None)


def veiled_finding(entity: str, detail: Mapping[str, Any] | None) -> Any:
    """Return the detail of a finding in the same way, and nothing of the fields that it names under `sensitive`."""
    if not detail or "sensitive" not in detail:
        return veiled(entity, detail)
    sides = {name: one for name, one in detail.items() if name != "sensitive"}
    return {**veiled(entity, _without(frozenset(detail["sensitive"]), sides)), "sensitive": detail["sensitive"]}


def _without(hidden: frozenset[str], value: Any) -> Any:
    """Return the value with stars for all that stands under these names, or inside it as in `name.city`."""
    if isinstance(value, Mapping):
        return {name: masks.STARS if name.partition(".")[0] in hidden and one not in (None, "") else
                _without(hidden, one) for name, one in value.items()}
    return [_without(hidden, one) for one in value] if isinstance(value, list) else value


def _veiled(by_name: Mapping[str, masks.Mask], value: Any, mask: masks.Mask | None) -> Any:
    if isinstance(value, Mapping):
        return {name: _veiled(by_name, one, by_name.get(name.rpartition(".")[2], mask)) for name, one in value.items()}
    if isinstance(value, list):
        return [_veiled(by_name, one, mask) for one in value]
    return mask(str(value)) if mask is not None and value not in (None, "") else value


@cache
def _masks(entity: str) -> dict[str, masks.Mask]:
    return dict(_sensitive(instance_of(_RECORDS[entity]))) if entity in _RECORDS else {}


def _sensitive(schema: Schema) -> Iterator[tuple[str, masks.Mask]]:
    """Yield the name and the mask of every sensitive field; one without a mask of its own is hidden whole."""
    for name, field in schema.fields.items():
        inner = field.inner if isinstance(field, fields.List) else field
        if isinstance(inner, Sensitive):
            yield name, inner.mask or masks.whole
        elif isinstance(inner, fields.Nested):
            yield from _sensitive(inner.schema)
