"""Binding a record by hand: where neither the target nor the hub can tell, a person says which one it is there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.context import Subject
from contracts.errors import AlreadyExists, Conflict, Invalid, NotFound
from hub_adapter.port import Remote
from services.integrations.adapters import registry
from services.integrations.domain.bindings import create_key
from services.integrations.models import Binding, Connection
from services.integrations.operations import dependents, routes
from services.integrations.queries import connections, lanes

log = telemetry.logger(__name__)


def require_carried(connection: Connection, entity: str) -> None:
    """Raise unless the adapter of a connection knows the entity.

    Raises:
        Invalid: with those that it knows.
        Conflict: this installation does not have the adapter, or it is broken.
    """
    try:
        spec = registry.load(connection.adapter).spec
    except (registry.UnknownAdapter, registry.BrokenAdapter) as error:
        raise Conflict(f"{connection.name} cannot be used: {error}") from error
    routes.require_entity(spec, entity)


def required(remote: Remote | None) -> Remote:
    """Return what a look has found.

    Raises:
        Invalid: nothing.
    """
    if remote is None:
        raise Invalid.of("/external_id", "unknown", "The target has no such record.")
    return remote


def bind(session: Session, request: Mapping[str, Any], remote: Remote, now: dt.datetime, *, by: Subject) -> Binding:
    """Bind our record to one at the target, and let go what waited for it; bound to that one already, it stays so.

    Of what stands there nothing counts as agreed: the next version, or the delivery that is sent again, changes it.

    Raises:
        NotFound: there is no such connection in the caller's sight, or no such record of ours.
        AlreadyExists: one of the two is bound to another.
        Conflict: our record was deleted, or what becomes of it there is not known yet.
    """
    # Locked, so that nobody takes a delivery of the record to make it there meanwhile.
    connection = connections.for_write(session, request["id"], by, "operate")
    lane = (connection.id, request["entity"], request["local_id"])
    bound = session.get(Binding, lane, populate_existing=True)
    if bound is not None and bound.external_id == remote.external_id:
        return bound
    _require_free(session, lane, bound, remote.external_id)
    if bound is None:
        bound = Binding(connection_id=lane[0], entity=lane[1], local_id=lane[2], create_key=create_key(lane))
        session.add(bound)
    bound.state, bound.external_id, bound.acked_version = "bound", remote.external_id, 0
    bound.remote_version, bound.last_verified_at = remote.version, now
    bound.base_snapshot = bound.sought_sealed = None
    session.flush()
    dependents.release(session, [lane], now)
    log.info("record_bound", connection_id=lane[0], entity=lane[1], local_id=lane[2],
             external_id=remote.external_id, by=by.id)
    return bound


def _require_free(session: Session, lane: lanes.Lane, bound: Binding | None, external_id: str) -> None:
    """Raise unless nothing keeps the two from being bound to each other."""
    connection_id, entity, local_id = lane
    place = (connection_id, entity, external_id)
    record = lanes.records(session, {lane[1:]}).get(lane[1:])
    if record is None:
        raise NotFound(f"The hub knows no such {entity}", entity=entity, id=local_id)
    if record.deleted:
        raise Conflict("The record was deleted here: take it away there by hand")
    if bound is not None and bound.external_id is not None:
        raise AlreadyExists(f"Our {entity} is {bound.external_id} there already", external_id=bound.external_id)
    if (other := lanes.bound_elsewhere(session, [place]).get(place)) is not None:
        raise AlreadyExists(f"{external_id} is our {entity} {other} already", local_id=other)
    if lanes.in_flight(session, [lane]):
        raise Conflict("A delivery of the record is on its way, or in doubt: bind it once that has come to its end")
