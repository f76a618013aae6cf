"""Drafting routes, turning them, and switching them on and off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.audit import trail
from chassis.context import Subject
from chassis.database import new_id, now_of
from contracts.errors import AlreadyExists, Conflict, Invalid, StaleVersion
from contracts.routes import Route as Told
from contracts.schema import instance_of
from services.integrations.adapters import registry
from services.integrations.models import Connection, Route
from services.integrations.operations import bodies, pulls, readiness
from services.integrations.queries import connections, routes
from services.integrations.routing import PUSHED

PULLING = ("pull", "both")


def told(session: Session, found: Sequence[Route]) -> list[dict[str, Any]]:
    """Return routes as they are shown, each with why its mapping in force is used no more, if that is so."""
    return [{**{name: getattr(route, name) for name in instance_of(Told).dump_fields if name != "mapping_problem"},
             "mapping_problem": _mapping_problem(session, route)} for route in found]


def _mapping_problem(session: Session, route: Route) -> str | None:
    if route.mapping_version is None:
        return None
    try:
        sent = bodies.of(session, session.get_one(Connection, route.connection_id))
    except (registry.UnknownAdapter, registry.BrokenAdapter):  # which its connection tells
        return None
    return sent.unusable.get(route.entity)


def create(session: Session, request: Mapping[str, Any], *, by: Subject) -> Route:
    """Draft a route; it carries nothing yet.

    Raises:
        NotFound: there is no such connection in the caller's sight.
        Invalid: the adapter, or the hub, does not know the entity in this direction.
        AlreadyExists: the connection has a route for this entity.
    """
    connection = connections.get(session, request["connection_id"], by)
    entity, direction = request["entity"], request["direction"]
    _require_carried(registry.load(connection.adapter).spec, entity, direction)
    if session.scalar(sa.select(Route.id).where(Route.connection_id == connection.id, Route.entity == entity)):
        raise AlreadyExists(f"{connection.name} has a route for {entity}: change its direction", entity=entity)
    now = now_of(session)
    route = Route(id=new_id(), connection_id=connection.id, entity=entity, direction=direction, created_by=by.id,
                  created_at=now, updated_at=now)
    session.add(route)
    session.flush()
    return route


def change(session: Session, request: Mapping[str, Any], *, by: Subject) -> Route:
    """Let a route carry its entity another way. What was accepted before is still delivered.

    Raises:
        NotFound: there is none, or it is out of reach.
        StaleVersion: it has changed since the caller read it.
        Invalid: the adapter, or the hub, does not know the entity in this direction.
    """
    route = routes.get(session, request["id"], by, "create", locked=True)
    if route.version != request["expected_version"]:
        raise StaleVersion("The route has changed since you read it", version=route.version)
    before, direction = route.direction, request["changes"].get("direction", route.direction)
    if direction == before:
        return route
    connection = session.get_one(Connection, route.connection_id)
    _require_carried(registry.load(connection.adapter).spec, route.entity, direction, "/changes/direction")
    trail.before(session, direction=before)
    route.direction = direction
    _touch(session, route)
    if direction in PULLING and before not in PULLING:
        pulls.begin(session, route.connection_id, route.entity, now_of(session))
    return route


def activate(session: Session, request: Mapping[str, Any], *, by: Subject) -> Route:
    """Switch a route on: from now on its entity's changes are accepted, or asked for.

    Raises:
        NotFound: there is none, or it is out of reach.
        Conflict: something is missing; `gaps` names each.
    """
    route = routes.get(session, request["id"], by, "operate", locked=True)
    connection = session.get_one(Connection, route.connection_id)
    if gaps := readiness.gaps(connection):
        raise Conflict(f"{connection.name} is not ready", gaps=gaps)
    if route.direction in PULLING:
        pulls.start(session, route.connection_id, route.entity, now_of(session))
    _switch(session, route, "active")
    return route


def deactivate(session: Session, request: Mapping[str, Any], *, by: Subject) -> Route:
    """Switch a route off. What it accepted is still delivered; what changes from now on is not.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    route = routes.get(session, request["id"], by, "operate", locked=True)
    _switch(session, route, "inactive")
    return route


def _require_carried(spec: Any, entity: str, direction: str, pointer: str = "/direction") -> None:
    if entity not in spec.entities:
        raise Invalid.of("/entity", "unknown", f"The adapter {spec.name} carries: {', '.join(spec.entities)}.")
    if direction in PULLING and entity not in spec.pulled:
        pulled = ", ".join(spec.pulled) or "nothing"
        raise Invalid.of(pointer, "unsupported", f"The adapter {spec.name} reports changes of: {pulled}.")
    if direction in ("push", "both") and entity not in PUSHED:
        raise Invalid.of(pointer, "unsupported", f"The hub pushes: {', '.join(sorted(PUSHED))}.")


def _switch(session: Session, route: Route, state: str) -> None:
    if route.state != state:
        route.state = state
        _touch(session, route)


def _touch(session: Session, route: Route) -> None:
    route.version += 1
    route.updated_at = now_of(session)
    session.flush()
