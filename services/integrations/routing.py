"""THE SIGNPOST: which event brings which record to the targets, and what has to be there before it.

An event that is not listed here travels nowhere. `service.py` hears exactly these.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from services.integrations.domain.deliveries import Op


@dataclass(frozen=True)
class Way:
    """Where an event leads: the entity it is about and what is done with it at the target.

    `routed` is False for a snapshot: it fills our copy of the record and travels only to a connection where something
    waits for it; bringing everything that exists to a new connection is a backfill, which a person asks for.
    """

    entity: str
    verb: Op
    routed: bool = True


@dataclass(frozen=True)
class Dependency:
    """A record names another one that has to be at the target first."""

    entity: str
    field: str


WAYS: Mapping[str, Way] = {
    "customers.customer.created": Way("customer", "upsert"),
    "customers.customer.updated": Way("customer", "upsert"),
    "customers.customer.snapshot": Way("customer", "upsert", routed=False),
    "customers.contact.created": Way("contact", "upsert"),
    "customers.contact.updated": Way("contact", "upsert"),
    "customers.contact.snapshot": Way("contact", "upsert", routed=False),
    "customers.task.created": Way("task", "upsert"),
    "customers.task.updated": Way("task", "upsert"),
    "customers.task.completed": Way("task", "upsert"),
    "customers.task.reopened": Way("task", "upsert"),
    "customers.task.cancelled": Way("task", "upsert"),
    "customers.task.deleted": Way("task", "delete"),
    "customers.task.snapshot": Way("task", "upsert", routed=False),
    "sales.order.confirmed": Way("order", "upsert"),
    "sales.order.cancelled": Way("order", "delete"),
}

PUSHED = frozenset(way.entity for way in WAYS.values())
"""Entities that an event brings here."""
ACCOUNT = "account"
"""The entity of bindings that say which account at a target is a user's."""

DEPENDS_ON: Mapping[str, tuple[Dependency, ...]] = {
    "order": (Dependency("customer", "customer_id"),),
    "task": (Dependency(ACCOUNT, "assignee_id"),),
}
AWAITED = frozenset(needed.entity for several in DEPENDS_ON.values() for needed in several)
"""Entities that something may be blocked on."""


def dependencies(entity: str, body: Mapping[str, Any], in_accounts: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return (entity, id) of each record that `body` cannot go without.

    Args:
        entity, body: the record.
        in_accounts: entities whose records lie in somebody's account at the target (`AdapterSpec.accounts`).
    """
    wanted = ((needed.entity, body.get(needed.field)) for needed in DEPENDS_ON.get(entity, ())
              if needed.entity != ACCOUNT or entity in in_accounts)
    return [(kind, str(id)) for kind, id in wanted if id]
