"""The roles that every installation begins with. Administrators may change all but `admin`, and add their own."""

from __future__ import annotations

from collections.abc import Iterator

from contracts import permissions
from contracts.depth import ANY, Depth, Depths
from services.identity.domain.rights import Rights

ADMIN_ROLE_ID = "00000000-0000-7000-8000-000000000001"

_SELLING = ("customer", "contact", "activity", "task", "attachment", "lead", "opportunity", "quote", "order", "payment")
_WIRING = ("connection", "route", "delivery", "mapping", "conflict", "run", "webhook")


def _every(entities: tuple[str, ...], depth: Depth) -> Rights:
    return {entity: {ANY: depth} for entity in entities}


# Everybody may look up a colleague, a team, a product or a queue: names stand on every record.
_DIRECTORY: Rights = {entity: {"read": "all"} for entity in ("user", "team", "role", "product", "queue")}

BUILT_IN: dict[str, tuple[str, str, Rights]] = {
    "admin": (ADMIN_ROLE_ID, "Administrator", {ANY: {ANY: "all"}}),
    "manager": (
        "00000000-0000-7000-8000-000000000002",
        "Manager: sees and does everything for the own teams and those below",
        _DIRECTORY
        | _every((*_SELLING, "ticket", "report", "target"), "tree")
        | {"queue": {"read": "all", ANY: "tree"}, "pool": {ANY: "all"}, "session": {"read": "tree", "delete": "tree"},
           "delivery": {"read": "all"}},
    ),
    "sales": (
        "00000000-0000-7000-8000-000000000003",
        "Sales: own customers, leads, opportunities and orders only",
        _DIRECTORY
        | _every(_SELLING, "own")
        | {"report": {"read": "own"}, "pool": {"read": "all", "claim": "all"},
           "ticket": {"read": "own", "create": "own"}},
    ),
    "service": (
        "00000000-0000-7000-8000-000000000004",
        "Service: tickets of the own team, customers and orders to look at",
        _DIRECTORY
        | _every(("activity", "task", "attachment"), "own")
        | {"customer": {"read": "all"}, "contact": {"read": "all"}, "order": {"read": "all"}, "ticket": {ANY: "team"}},
    ),
    "integrator": (
        "00000000-0000-7000-8000-000000000005",
        "Integrator: connections, routes and deliveries; no customers",
        _DIRECTORY
        | _every(_WIRING, "all")
        | {"order": {"read": "all"}, "api_key": {"create": "own", "read": "own", "delete": "own"}},
    ),
    "auditor": (
        "00000000-0000-7000-8000-000000000006",
        "Auditor: reads everything, changes nothing",
        {ANY: {"read": "all"}},
    ),
}
"""name → (id, title, rights)."""


def unknown(wanted: Depths) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield each name among rights that nothing asks for, as its path, and the names that could stand there.

    Known is what the contracts declare and what the built-in roles name: a copy of one of these can be granted.
    """
    known = {entity: {ANY, *actions} for entity, actions in permissions.declared().items()}
    for _id, _title, given in BUILT_IN.values():
        for entity, granted in given.items():
            known.setdefault(entity, {ANY}).update(granted)
    known[ANY] = set().union(*known.values())
    for entity, actions in wanted.items():
        if entity not in known:
            yield (entity,), sorted(known)
            continue
        for action in actions:
            if action not in known[entity]:
                yield (entity, action), sorted(known[entity])
