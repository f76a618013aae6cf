"""What the owner of an entity takes over of what a target tells: as its contract of the other system's record says."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from marshmallow import Schema

from contracts import customers, sales, tasks
from contracts.schema import instance_of
from hub_adapter.spec import AdapterSpec, Capability
from services.integrations.domain import canonical
from services.integrations.domain.mapping import ALWAYS

_TOLD: Mapping[str, type[Schema]] = {
    "task": tasks.ExternalTask, "contact": customers.ExternalContact, "customer": customers.ExternalContact,
    "order": sales.ExternalOrder, "product": sales.ProductState}
TAKEN: Mapping[str, frozenset[str]] = {
    entity: frozenset(instance_of(contract).dump_fields) for entity, contract in _TOLD.items()}
"""Entity → the fields that its owner takes over; of an entity that is not here, none."""
BORN = frozenset({"task", "product"})
"""Entities whose owner makes a record of one that it does not know."""
ENDED = frozenset({"task"})
"""Entities whose owner ends its record where the target's is gone."""


IN_PART = frozenset({"contact", "customer"})
"""Entities whose owner takes over a part of the record, and keeps the rest as it is here."""


def taken(entity: str, fields: Collection[str]) -> bool:
    """Tell whether an entity's owner takes over all of these fields; no fields stand for the whole record."""
    return set(fields) <= TAKEN.get(entity, frozenset()) and bool(fields or entity not in IN_PART)


def refusal(entity: str) -> str:
    """Return why not all is taken over, and what to do instead, for a person."""
    some = ", ".join(sorted(TAKEN.get(entity, ()))) or "nothing"
    return (f"Of what other systems say of this {entity} is taken over: {some}. Change the record here to what stands "
            "there")


def shared(spec: AdapterSpec, entity: str) -> frozenset[str]:
    """Return the fields that may change on both sides, so that they need an owner.

    None where the adapter does not report changes, or a write of ours replaces what it does not know of.
    """
    if entity not in spec.pulled or Capability.CONDITIONAL_WRITE not in spec.capabilities:
        return frozenset()
    sent = spec.fields.get(entity) or canonical.of_entity(entity)
    return TAKEN.get(entity, frozenset()).intersection(sent.get("properties", {})) - ALWAYS - {"id"}
