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
from hub_adapter.port import AdapterSpec
from services.integrations.adapters import registry
from services.integrations.domain import canonical, expressions, merging, takeovers
from services.integrations.domain.expressions import ExpressionError
from services.integrations.domain.merging import Owner
from services.integrations.models import Connection, Route
from services.integrations.operations import bodies, mappings, pulls, readiness, strangers
from services.integrations.queries import connections, routes
from services.integrations.routing import DEPENDS_ON, PUSHED

PULLING = ("pull", "both")


def told(session: Session, found: Sequence[Route]) -> list[dict[str, Any]]:
    """Return routes as they are shown: whose each field is, and why a mapping in force is used no more."""
    return [_told(session, route) for route in found]


def _told(session: Session, route: Route) -> dict[str, Any]:
    shown = {name: getattr(route, name, None) for name in instance_of(Told).dump_fields}
    connection = session.get_one(Connection, route.connection_id)
    try:
        shared = takeovers.shared(registry.load(connection.adapter).spec, route.entity)
        sent = bodies.of(session, connection) if route.mapping_version is not None else None
    except (registry.UnknownAdapter, registry.BrokenAdapter):  # which its connection tells
        return shown | {"owners": route.owners or {}}
    owners = merging.owners_of(route.entity, route.owners or {})
    return shown | {"owners": {name: owners.get(name, "local") for name in sorted(shared)},
                    "mapping_problem": sent.unusable.get(route.entity) if sent is not None else None}


def create(session: Session, request: Mapping[str, Any], *, by: Subject) -> Route:
    """Draft a route; it carries nothing yet.

    Raises:
        NotFound: there is no such connection in the caller's sight.
        Invalid: the adapter, or the hub, does not know the entity in this direction, or a field cannot be owned so.
        AlreadyExists: the connection has a route for this entity.
    """
    connection = connections.for_write(session, request["connection_id"], by, "read")
    entity, direction = request["entity"], request["direction"]
    spec = registry.load(connection.adapter).spec
    _require_carried(spec, entity, direction)
    owners, on_missing = request.get("owners") or {}, request.get("on_missing", "recreate")
    _require_owned(spec, entity, direction, owners)
    chosen = request.get("filter")
    _require_filter(entity, chosen)
    if session.scalar(sa.select(Route.id).where(Route.connection_id == connection.id, Route.entity == entity)):
        raise AlreadyExists(f"{connection.name} has a route for {entity}: change its direction", entity=entity)
    now = now_of(session)
    route = Route(id=new_id(), connection_id=connection.id, entity=entity, direction=direction, created_by=by.id,
                  created_at=now, updated_at=now, owners=owners or None, on_missing=on_missing, filter=chosen)
    session.add(route)
    if owners or chosen is not None or on_missing == "conflict":
        mappings.changed(connection)
    session.flush()
    return route


def change(session: Session, request: Mapping[str, Any], *, by: Subject) -> Route:
    """Let a route carry its entity another way, or settle its conflicts another way. What was accepted before is still
    delivered.

    Raises:
        NotFound: there is none, or it is out of reach.
        StaleVersion: it has changed since the caller read it.
        Invalid: the adapter, or the hub, does not know the entity in this direction, or a field cannot be owned so.
        Conflict: it is on, and would push what nobody has matched with what the target has (`needs`).
    """
    # The connection first, as everywhere: a claim holds it from before it looks what is in force.
    connection_id = routes.get(session, request["id"], by, "create").connection_id
    connection = session.get_one(Connection, connection_id, with_for_update={"key_share": True})
    route = routes.get(session, request["id"], by, "create", locked=True)
    if route.version != request["expected_version"]:
        raise StaleVersion("The route has changed since you read it", version=route.version)
    before = {name: getattr(route, name) for name in ("direction", "filter", "owners", "on_missing")}
    after = before | request["changes"]
    after["owners"] = after["owners"] or None
    if after == before:
        return route
    spec = registry.load(connection.adapter).spec
    _require_carried(spec, route.entity, after["direction"], "/changes/direction")
    if before["direction"] == "pull" and after["direction"] != "pull":
        _begin_to_push(session, connection, route)
    _require_owned(spec, route.entity, after["direction"], after["owners"] or {}, "/changes/owners")
    _require_filter(route.entity, after["filter"], "/changes/filter")
    trail.before(session, **{name: before[name] for name in before if before[name] != after[name]})
    for name, value in after.items():
        setattr(route, name, value)
    mappings.changed(connection)
    _touch(session, route)
    if route.direction in PULLING and before["direction"] not in PULLING:
        pulls.begin(session, route.connection_id, route.entity, now_of(session))
    return route


def _begin_to_push(session: Session, connection: Connection, route: Route) -> None:
    without = "switch the route off before you turn it, and on by without_matching and a reason"
    if route.state == "inactive":
        route.state = "draft"  # as far as is known, it has never been on this way
    elif route.state == "active" and (unmet := strangers.unmet(session, connection, route.entity, without)):
        raise unmet


def unmatched(session: Session, connection: Connection, route: Route, without: str) -> tuple[str, Conflict] | None:
    """Return of which entity nobody has matched what the target had before, so that a draft may not be switched on yet.

    That is its own, or one whose records it takes along, unless their route has been on. Of a target that cannot be
    listed nothing can be found out, and nothing is asked.
    """
    if route.state != "draft" or route.direction == "pull" or not strangers.can_be_listed(connection):
        return None
    been_on = set(session.scalars(sa.select(Route.entity).where(
        Route.connection_id == connection.id, Route.state != "draft", Route.direction != "pull")))
    for entity in (route.entity, *(needed.entity for needed in DEPENDS_ON.get(route.entity, ()))):
        if entity not in been_on and (unmet := strangers.unmet(session, connection, entity, without)) is not None:
            return entity, unmet
    return None


def activate(session: Session, request: Mapping[str, Any], *, by: Subject, checked: int | None = None) -> Route:
    """Switch a route on: from now on its entity's changes are accepted, or asked for.

    Args:
        session, request, by: the transaction, which route, and who asks.
        checked: the version of the route of which it was seen that it may be switched on; None for whatever it is.

    Raises:
        NotFound: there is none, or it is out of reach.
        Conflict: something is missing, `gaps` names each; or it was changed while it was checked.
    """
    # The connection first, as everywhere: nobody turns the route from here on.
    connection_id = routes.get(session, request["id"], by, "operate").connection_id
    connection = session.get_one(Connection, connection_id, with_for_update={"key_share": True})
    route = routes.get(session, request["id"], by, "operate", locked=True)
    if route.state != "active" and checked is not None and route.version != checked:
        raise Conflict("The route was changed while it was checked: switch it on again", version=route.version)
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


def require_entity(spec: AdapterSpec, entity: str) -> None:
    """Refuse an entity that an adapter does not know.

    Raises:
        Invalid: which ones it knows.
    """
    if entity not in spec.entities:
        raise Invalid.of("/entity", "unknown", f"The adapter {spec.name} carries: {', '.join(spec.entities)}.")


def _require_carried(spec: AdapterSpec, entity: str, direction: str, pointer: str = "/direction") -> None:
    require_entity(spec, entity)
    if direction in PULLING and entity not in spec.pulled:
        pulled = ", ".join(spec.pulled) or "nothing"
        raise Invalid.of(pointer, "unsupported", f"The adapter {spec.name} reports changes of: {pulled}.")
    if direction in ("push", "both") and entity not in PUSHED:
        raise Invalid.of(pointer, "unsupported", f"The hub pushes: {', '.join(sorted(PUSHED))}.")


def _require_owned(spec: AdapterSpec, entity: str, direction: str, owners: Mapping[str, Owner],
                   pointer: str = "/owners") -> None:
    shared = takeovers.shared(spec, entity)
    for name, owner in owners.items():
        if name not in shared:
            raise Invalid.of(f"{pointer}/{name}", "unknown", f"The hub and {spec.name} may both change of each "
                                                             f"{entity}: {', '.join(sorted(shared)) or 'nothing'}.")
        if owner != "local" and direction != "both":
            raise Invalid.of(f"{pointer}/{name}", "unsupported",
                             "Only over a route of the direction both the hub hears what was changed there.")


def _require_filter(entity: str, chosen: str | None, pointer: str = "/filter") -> None:
    if chosen is None:
        return
    try:
        expressions.require_names(expressions.parse(chosen), canonical.of_entity(entity))
    except ExpressionError as error:
        raise Invalid.of(pointer, "expression", f"Character {error.offset + 1}: {error}.") from error


def _switch(session: Session, route: Route, state: str) -> None:
    if route.state != state:
        route.state = state
        _touch(session, route)


def _touch(session: Session, route: Route) -> None:
    route.version += 1
    route.updated_at = now_of(session)
    session.flush()
