"""Saving mappings, putting them in force, and showing beforehand what they would send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.audit import trail
from chassis.context import Subject
from chassis.crypto import Keyring
from chassis.database import utcnow
from contracts.errors import Invalid
from services.integrations.adapters import registry
from services.integrations.domain import canonical, mapping_checks, veils
from services.integrations.domain import mapping as mappings
from services.integrations.domain.mapping import Unmappable
from services.integrations.domain.plain_yaml import Fault, Faulty
from services.integrations.models import Connection, MappingVersion, Route
from services.integrations.operations import bodies, records
from services.integrations.operations.bodies import InForce
from services.integrations.queries import lanes
from services.integrations.queries import mappings as queries

TRIED_ON = 20
"""Real records that a mapping is tried on when it is saved."""


def save(session: Session, keyring: Keyring, request: Mapping[str, Any], *, by: Subject) -> dict[str, Any]:
    """Save the next version of a route's mapping; what is in force stays so.

    Raises:
        NotFound: there is no such route in the caller's sight.
        Invalid: the mapping cannot work; each fault with its place in the YAML.
    """
    route = queries.route_of(session, request["id"], by, "create", locked=True)
    connection = session.get_one(Connection, route.connection_id)
    try:
        mapping = mappings.read(request["text"])
        tried_on = [state for _row, state in opened(keyring, queries.newest(session, route.entity, TRIED_ON))]
        mapping_checks.require_sound(mapping, source_of(route), target_of(connection, route),
                                     bodies.of(session, connection).tables, tried_on)
    except Faulty as error:
        raise Invalid("The mapping cannot work", errors=[_refusal(fault) for fault in error.faults]) from error
    last = session.scalar(sa.select(sa.func.max(MappingVersion.number)).where(MappingVersion.route_id == route.id))
    saved = MappingVersion(route_id=route.id, number=(last or 0) + 1, text=request["text"], created_by=by.id)
    session.add(saved)
    session.flush()
    return told(saved, route)


def _refusal(fault: Fault) -> dict[str, Any]:
    place = fault.place
    return {"pointer": "/text", "code": fault.code, "message": fault.message, "line": place.line,
            "column": place.column, "at": place.pointer}


def use(session: Session, request: Mapping[str, Any], *, by: Subject) -> dict[str, Any]:
    """Put a version in force, or none. Whoever does has seen that no code is missing (`engine/gaps.py`).

    Raises:
        NotFound: there is no such route or version in the caller's sight.
    """
    number = request["number"]
    # The connection first, as everywhere: a claim holds it from before it looks what is in force.
    connection_id = queries.route_of(session, request["id"], by, "operate").connection_id
    connection = session.get_one(Connection, connection_id, with_for_update={"key_share": True})
    route = queries.route_of(session, request["id"], by, "operate", locked=True)
    if number is not None:
        queries.get(session, route.id, number, by, "operate")
    trail.before(session, number=route.mapping_version)
    if route.mapping_version != number:
        route.mapping_version, route.version, route.updated_at = number, route.version + 1, utcnow()
        changed(connection)
        session.flush()
    return {"route_id": route.id, "number": number}


def changed(connection: Connection) -> None:
    """Tell every process that what it knows of the connection's mappings and code tables is old."""
    connection.mapping_version = (connection.mapping_version or 0) + 1


def told(saved: MappingVersion, route: Route) -> dict[str, Any]:
    """Return a version as it is told."""
    return {"id": saved.id, "route_id": saved.route_id, "number": saved.number, "text": saved.text,
            "in_force": route.mapping_version == saved.number, "created_by": saved.created_by,
            "created_at": saved.created_at}


def source_of(route: Route) -> Mapping[str, Any]:
    """Return the schema of our records that a route carries."""
    return canonical.of_entity(route.entity)


def target_of(connection: Connection, route: Route) -> Mapping[str, Any] | None:
    """Return the schema of what the target takes, if its adapter says."""
    return registry.load(connection.adapter).spec.fields.get(route.entity)


# --- preview ------------------------------------------------------------------------------------------------------


def preview(session: Session, keyring: Keyring, request: Mapping[str, Any], *, by: Subject) -> dict[str, Any]:
    """Return what a version would send of real records, and where that differs from the version in force.

    Raises:
        NotFound: there is no such route or version in the caller's sight.
        Invalid: of a record that is named there is no copy.
    """
    route = queries.route_of(session, request["id"], by, "operate")
    saved = queries.get(session, route.id, request["number"], by, "operate")
    connection = session.get_one(Connection, route.connection_id)
    now, then = bodies.of(session, connection), with_version(session, connection, route, saved)
    target = target_of(connection, route)
    rows = (queries.named(session, route.entity, request["ids"]) if request["ids"]
            else queries.newest(session, route.entity, request["limit"]))
    if request["ids"] and (strange := sorted({*request["ids"]} - {row.id for row in rows})):
        raise Invalid.of("/ids", "unknown", f"The hub keeps no such {route.entity}: {', '.join(strange)}.")
    bound = lanes.bindings(session, {(connection.id, route.entity, row.id) for row in rows})
    shown = []
    for row, state in opened(keyring, rows):
        binding = bound.get((connection.id, route.entity, row.id))
        stands = binding is not None and binding.external_id is not None
        body, problem = _filled(then, route.entity, state, stands)
        before, _problem = _filled(now, route.entity, state, stands)
        # What is shown is made of a record under its masks; what differs is told of the true one.
        masked, _problem = _filled(then, route.entity, veils.veiled(route.entity, state), stands)
        shown.append({"local_id": row.id, "version": row.version, "bound": stands, "problem": problem,
                      "body": None if problem else masked,
                      "changed": [] if problem else _differing(body or {}, before or {}, target)})
    return {"route_id": route.id, "number": saved.number, "compared_with": route.mapping_version, "records": shown}


def with_version(session: Session, connection: Connection, route: Route, saved: MappingVersion | None) -> InForce:
    """Return what would be in force on a connection with this version on this route, or without any."""
    now = bodies.of(session, connection)
    then = replace(now, mappings=dict(now.mappings), unusable=dict(now.unusable))
    then.mappings.pop(route.entity, None)
    if route.filter is None or route.entity in then.filters:
        then.unusable.pop(route.entity, None)
    if saved is not None:
        then.take(route.entity, saved.text, target_of(connection, route))
    return then


def _differing(body: Mapping[str, Any], before: Mapping[str, Any], target: Mapping[str, Any] | None) -> list[str]:
    """Return the fields that differ. One that is sent no more counts unless the target is known not to take it."""
    taken = before.keys() if target is None else target.get("properties", {}).keys()
    names = body.keys() | (before.keys() & taken)
    return sorted(name for name in names if body.get(name, ...) != before.get(name, ...))


def _filled(sent: InForce, entity: str, state: Mapping[str, Any],
            bound: bool) -> tuple[Mapping[str, Any] | None, dict[str, str] | None]:
    try:
        return sent.body(entity, state, creating=not bound), None
    except Unmappable as error:
        return None, {"field": error.field, "message": str(error)}


def opened(keyring: Keyring, rows: Sequence[Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Return each row with the record in it; without those that do not open."""
    return [(row, state) for row in rows if (state := records.opened(keyring, row)) is not None]
