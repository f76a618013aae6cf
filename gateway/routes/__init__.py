"""Every route of the API, a file per resource. The document, the tests and the server read this one table."""

from __future__ import annotations

from contracts.operation import Operation
from gateway.route import Route
from gateway.routes import (
    activities,
    adapters,
    api_keys,
    conflicts,
    connections,
    contacts,
    customers,
    deliveries,
    inbound,
    mappings,
    me,
    orders,
    products,
    queues,
    roles,
    runs,
    sessions,
    sync_routes,
    tasks,
    teams,
    tickets,
    users,
)

ROUTES: tuple[Route, ...] = (
    *sessions.ROUTES, *me.ROUTES, *users.ROUTES, *teams.ROUTES, *roles.ROUTES, *api_keys.ROUTES,
    *customers.ROUTES, *contacts.ROUTES, *tasks.ROUTES, *activities.ROUTES,
    *products.ROUTES, *orders.ROUTES,
    *tickets.ROUTES, *queues.ROUTES,
    *adapters.ROUTES, *connections.ROUTES, *sync_routes.ROUTES, *mappings.ROUTES, *deliveries.ROUTES,
    *runs.ROUTES,
    *conflicts.ROUTES, *inbound.ROUTES,
)

UNROUTED: dict[str, str] = {}
"""Operation that is not internal and has no route → why."""


def routed() -> frozenset[Operation]:
    """Return every operation that HTTP reaches."""
    return frozenset(route.operation for route in ROUTES)
