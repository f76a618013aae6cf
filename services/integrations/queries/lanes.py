"""What the engine asks: which deliveries may be taken now, which lanes are bound, what has been forgotten.

Every query here has an index to itself and a test that shows its plan: a million waiting rows must not slow a claim.
The states are literal text, because a planner matches a partial index by text, not by a bound value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from services.integrations.domain.deliveries import CLAIMABLE, IN_FLIGHT, WAITING
from services.integrations.models import Attempt, Binding, Connection, Cursor, Delivery, Record, Route
from services.integrations.models.base import one_of

Asked: TypeAlias = "sa.Select[*tuple[Any, ...]]"
"""A query that is not run yet, so that a test can look at its plan."""
Lane = tuple[str, str, str]
"""(connection_id, entity, local_id)."""
PRIORITIES = (0,)
"""The levels in use, first served first. A query per level keeps each a plain walk along its index."""


def _lane_of(one: Any, other: Any) -> sa.ColumnElement[bool]:
    return sa.and_(one.connection_id == other.connection_id, one.entity == other.entity,
                   one.local_id == other.local_id)


def _unindexed(column: Any) -> sa.ColumnElement[str]:
    """Return `column` so that no planner walks the whole history of a lane for its sake: what waits is one row."""
    return column.concat(sa.literal_column("''"))  # type: ignore[no-any-return]


def claimable(connection_id: str, priority: int, now: dt.datetime, limit: int) -> Asked:
    """Select ids of due deliveries, longest due first, each the first of its lane and with nothing of it in flight."""
    flying, earlier, fact = (aliased(Delivery, name=name) for name in ("flying", "earlier", "fact"))
    in_flight = sa.select(1).where(_lane_of(flying, Delivery), one_of("flying.state", IN_FLIGHT)).exists()
    upsert_before = sa.select(1).where(
        _lane_of(earlier, Delivery), one_of("earlier.state", WAITING), sa.text("earlier.op = 'upsert'"),
        _unindexed(earlier.id) < Delivery.id).exists()
    # A fact stops behind a dead one: the target would otherwise see the second payment without the first.
    fact_before = sa.select(1).where(
        _lane_of(fact, Delivery), one_of("fact.state", (*WAITING, "dead")), sa.text("fact.op <> 'upsert'"),
        _unindexed(fact.id) < Delivery.id,
        sa.or_(fact.state != "dead", sa.and_(fact.op == "append", Delivery.op == "append"))).exists()
    return (
        sa.select(Delivery.id)
        .where(Delivery.connection_id == connection_id, one_of("delivery.state", CLAIMABLE),
               Delivery.priority == priority, Delivery.due_at <= now, ~in_flight, ~upsert_before, ~fact_before)
        .order_by(Delivery.due_at, Delivery.id).limit(limit)
        .with_for_update(skip_locked=True, of=Delivery)
    )


def due_connections(now: dt.datetime) -> Asked:
    """Select, for each connection that may be called, its id and when its next delivery is due (may be null)."""
    firsts = [
        sa.select(Delivery.due_at)
        .where(Delivery.connection_id == Connection.id, one_of("delivery.state", CLAIMABLE),
               Delivery.priority == priority)
        .order_by(Delivery.due_at).limit(1).correlate(Connection).scalar_subquery()
        for priority in PRIORITIES
    ]
    return sa.select(Connection.id, *firsts).where(
        Connection.desired_state == "active",
        sa.or_(Connection.throttled_until.is_(None), Connection.throttled_until <= now))


def due(session: Session, now: dt.datetime) -> set[str]:
    """Return the ids of connections that have something to send now."""
    rows = session.execute(due_connections(now)).all()
    return {id for id, *firsts in rows if any(first is not None and first <= now for first in firsts)}


def doubts_due(now: dt.datetime, limit: int) -> Asked:
    """Select ids of deliveries in doubt whose look-up is due and whose connection may be called."""
    return (
        sa.select(Delivery.id).join(Connection, Connection.id == Delivery.connection_id)
        .where(sa.text("delivery.state = 'in_doubt'"), Delivery.due_at <= now, Delivery.lease_owner.is_(None),
               Connection.desired_state == "active",
               sa.or_(Connection.throttled_until.is_(None), Connection.throttled_until <= now))
        .order_by(Delivery.due_at).limit(limit).with_for_update(skip_locked=True, of=Delivery)
    )


def any_doubt_due(session: Session, now: dt.datetime) -> bool:
    """Tell whether a look-up is due."""
    due_now = sa.select(Delivery.id).where(sa.text("delivery.state = 'in_doubt'"), Delivery.due_at <= now,
                                           Delivery.lease_owner.is_(None)).limit(1)
    return session.execute(due_now).first() is not None


def expired_leases(now: dt.datetime, gone: Collection[str], limit: int) -> Asked:
    """Select deliveries whose lease has ended, or belongs to a process that is known to be gone."""
    over = Delivery.lease_until < now
    return (
        sa.select(Delivery.id, Delivery.connection_id, Delivery.entity, Delivery.local_id, Delivery.op, Delivery.state,
                  Delivery.fence, Delivery.attempts, Delivery.deferrals,
                  sa.select(1).where(Attempt.delivery_id == Delivery.id, Attempt.n == Delivery.fence,
                                     Attempt.ended_at.is_(None)).exists().label("called"))
        .where(Delivery.lease_until.is_not(None),
               sa.or_(over, Delivery.lease_owner.in_(gone)) if gone else over)
        .order_by(Delivery.lease_until).limit(limit).with_for_update(skip_locked=True, of=Delivery)
    )


def lease_owners() -> Asked:
    """Select the processes that hold leases."""
    return sa.select(Delivery.lease_owner).where(Delivery.lease_until.is_not(None)).distinct()


def blocked_due(now: dt.datetime, limit: int) -> Asked:
    """Select blocked deliveries that it is time to look at again."""
    return (
        sa.select(Delivery.id, Delivery.connection_id, Delivery.blocked_entity, Delivery.blocked_id,
                  Delivery.deadline_at)
        .where(sa.text("delivery.state = 'blocked'"), Delivery.due_at <= now)
        .order_by(Delivery.due_at).limit(limit).with_for_update(skip_locked=True)
    )


def _in_lanes(model: Any, lanes: Collection[Lane]) -> sa.ColumnElement[bool]:
    return sa.tuple_(model.connection_id, model.entity, model.local_id).in_(list(lanes))


def bindings(session: Session, lanes: Collection[Lane]) -> dict[Lane, Any]:
    """Return the binding of each lane that has one."""
    if not lanes:
        return {}
    columns = Binding.__table__.c
    rows = session.execute(sa.select(*columns).where(_in_lanes(Binding, lanes))).all()
    return {(row.connection_id, row.entity, row.local_id): row for row in rows}


def bound_elsewhere(session: Session, keys: Collection[Lane]) -> dict[Lane, str]:
    """Return, for each (connection_id, entity, external_id) that is bound, the local id it is bound to."""
    if not keys:
        return {}
    found = sa.tuple_(Binding.connection_id, Binding.entity, Binding.external_id).in_(list(keys))
    rows = session.execute(sa.select(Binding.connection_id, Binding.entity, Binding.external_id, Binding.local_id)
                           .where(found, Binding.external_id.is_not(None))).all()
    return {(row[0], row[1], str(row[2])): row[3] for row in rows}


def records(session: Session, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """Return our copy of each (entity, id) that we have."""
    if not keys:
        return {}
    columns = Record.__table__.c
    rows = session.execute(sa.select(*columns).where(sa.tuple_(Record.entity, Record.id).in_(list(keys)))).all()
    return {(row.entity, row.id): row for row in rows}


def waiting_upserts(session: Session, lanes: Collection[Lane]) -> dict[Lane, Any]:
    """Return the upsert that waits in each lane, locked, so that nobody takes it meanwhile."""
    if not lanes:
        return {}
    columns = Delivery.__table__.c
    rows = session.execute(
        sa.select(columns.id, columns.connection_id, columns.entity, columns.local_id, columns.state, columns.attempts,
                  columns.deferrals, columns.due_at, columns.blocked_entity, columns.blocked_id, columns.deadline_at)
        .where(_in_lanes(Delivery, lanes), one_of("delivery.state", WAITING), sa.text("delivery.op = 'upsert'"))
        .with_for_update()).all()
    return {(row.connection_id, row.entity, row.local_id): row for row in rows}


def open_lanes(session: Session, lanes: Collection[Lane]) -> set[Lane]:
    """Return those of `lanes` in which something is open."""
    if not lanes:
        return set()
    columns = (Delivery.connection_id, Delivery.entity, Delivery.local_id)
    found: set[Lane] = set()
    for states in (IN_FLIGHT, WAITING):  # an index each
        rows = session.execute(sa.select(*columns).where(_in_lanes(Delivery, lanes), one_of("delivery.state", states)))
        found |= {(row[0], row[1], row[2]) for row in rows}
    return found


def waited_for(session: Session, entity: str, local_id: str) -> set[str]:
    """Return the connections where something is blocked until this record is there."""
    found = sa.select(Delivery.connection_id).where(
        sa.text("delivery.state = 'blocked'"), Delivery.blocked_entity == entity, Delivery.blocked_id == local_id)
    return set(session.execute(found.distinct()).scalars())


def push_connections(session: Session, entity: str) -> list[str]:
    """Return the connections to which an active route carries `entity`."""
    return list(session.execute(
        sa.select(Route.connection_id).join(Connection, Connection.id == Route.connection_id)
        .where(Route.entity == entity, Route.state == "active", Route.direction.in_(("push", "both")),
               Connection.desired_state != "stopped")
        .order_by(Route.connection_id)).scalars())


def cursors_due(now: dt.datetime, limit: int, *, locked: bool = True) -> Asked:
    """Select the keys of cursors whose poll is due and whose connection and route are active."""
    found = (
        sa.select(Cursor.connection_id, Cursor.entity, Cursor.direction, Cursor.partition)
        .join(Connection, Connection.id == Cursor.connection_id)
        .join(Route, sa.and_(Route.connection_id == Cursor.connection_id, Route.entity == Cursor.entity))
        .where(Cursor.due_at <= now, sa.or_(Cursor.lease_until.is_(None), Cursor.lease_until < now),
               Connection.desired_state == "active", Route.state == "active", Route.direction.in_(("pull", "both")),
               sa.or_(Connection.throttled_until.is_(None), Connection.throttled_until <= now))
        .order_by(Cursor.due_at).limit(limit)
    )
    return found.with_for_update(skip_locked=True, of=Cursor) if locked else found
