"""What stands in a lane, the line of one record's deliveries over one connection: its binding, what waits, what flies.

Every query here has an index to itself and a test that shows its plan: a million waiting rows must not slow a look-up.
The states are literal text, because a planner matches a partial index by text, not by a bound value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.domain.deliveries import IN_FLIGHT, WAITING
from services.integrations.models import Attempt, Connection, Delivery
from services.integrations.models.base import one_of
from services.integrations.queries.statements import Asked, OfMost, built_once, keys_of, of_keys, table_of, unindexed
from services.integrations.queries.tables import ATTEMPT, BINDING, CONFLICT, CONNECTION, DELIVERY, RECORD, ROUTE

Lane = tuple[str, str, str]
"""(connection_id, entity, local_id)."""
K = TypeVar("K", bound=tuple[str, ...])
V = TypeVar("V")
_UPSERTS = sa.and_(one_of("delivery.state", WAITING), sa.text("delivery.op = 'upsert'"))
_FACTS = sa.and_(one_of("delivery.state", (*WAITING, "dead")), sa.text("delivery.op <> 'upsert'"),
                 DELIVERY.state != "dead")
_FLYING = sa.and_(one_of("delivery.state", IN_FLIGHT))
"""What may be open in a lane, each in the words of its index."""


def same_lane(one: Any, other: Any) -> sa.ColumnElement[bool]:
    """Return the condition that two deliveries, or a delivery and a binding, are of one lane."""
    # Told which connection it is, PostgreSQL may gather all its facts or calls, if its statistics do not know of them.
    return sa.and_(one.connection_id == unindexed(other.connection_id), one.entity == other.entity,
                   one.local_id == other.local_id)


def unresolved(session: Session, connection_id: str, most: int) -> int:
    """Return how many deliveries of a connection a look at the target has left in doubt, counting up to `most`."""
    return int(session.execute(*_unresolved(connection_id, most)).scalar_one())


@built_once
def _unresolved(connection_id: str, most: int) -> Asked:
    some = (sa.select(DELIVERY.id).where(DELIVERY.connection_id == connection_id,
                                         sa.text("delivery.state = 'in_doubt'"), DELIVERY.probes > 0).limit(most))
    return sa.select(sa.func.count()).select_from(some.subquery())


def _in_lanes(query: Asked, columns: Any, given: Sequence[Any], *, apart: bool) -> Asked:
    return of_keys(query, (columns.connection_id, columns.entity, columns.local_id), given, apart=apart)


def bindings(session: Session, lanes: Collection[Lane]) -> dict[Lane, Any]:
    """Return the binding of each lane that has one; `disputed` are the fields of its open conflict."""
    if not lanes:
        return {}
    given, apart = keys_of(session, lanes)
    rows = session.execute(*_bindings(*given, apart=apart)).all()
    return _those_of(lanes, (((row.connection_id, row.entity, row.local_id), row) for row in rows))


@built_once
def _bindings(connection_ids: Any, entities: Any, ids: Any, *, apart: bool) -> Asked:
    disputed = sa.select(CONFLICT.fields).where(
        CONFLICT.connection_id == BINDING.connection_id, CONFLICT.entity == BINDING.entity,
        CONFLICT.external_id == BINDING.external_id, sa.text("conflict.state = 'open'")).scalar_subquery()
    found = sa.select(*BINDING, disputed.label("disputed"))
    return _in_lanes(found, BINDING, (connection_ids, entities, ids), apart=apart)


def _those_of(keys: Collection[K], found: Iterable[tuple[K, V]]) -> dict[K, V]:
    wanted = set(keys)
    return {key: value for key, value in found if key in wanted}


def bound_elsewhere(session: Session, keys: Collection[Lane]) -> dict[Lane, str]:
    """Return, for each (connection_id, entity, external_id) that is bound, the local id it is bound to."""
    if not keys:
        return {}
    given, apart = keys_of(session, keys)
    rows = session.execute(*_bound_to(*given, apart=apart)).all()
    return _those_of(keys, (((row[0], row[1], row[2]), row[3]) for row in rows))


@built_once
def _bound_to(connection_ids: Any, entities: Any, external_ids: Any, *, apart: bool) -> Asked:
    named = (BINDING.connection_id, BINDING.entity, BINDING.external_id)
    found = sa.select(*named, BINDING.local_id)
    if not apart:  # PostgreSQL may need to hear it for the index; SQLite would rather walk along all that have one
        found = found.where(BINDING.external_id.is_not(None))
    return of_keys(found, named, (connection_ids, entities, external_ids), apart=apart)


def records(session: Session, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """Return our copy of each (entity, id) that we have."""
    if not keys:
        return {}
    given, apart = keys_of(session, keys)
    rows = session.execute(*_records(*given, apart=apart)).all()
    return _those_of(keys, (((row.entity, row.id), row) for row in rows))


@built_once
def _records(entities: Any, ids: Any, *, apart: bool) -> Asked:
    return of_keys(sa.select(*RECORD), (RECORD.entity, RECORD.id), (entities, ids), apart=apart)


def waiting_upserts(session: Session, lanes: Collection[Lane]) -> dict[Lane, Any]:
    """Return the upsert that waits in each lane, locked, so that nobody takes it meanwhile."""
    if not lanes:
        return {}
    given, apart = keys_of(session, lanes)
    rows = session.execute(*_waiting_upserts(*given, apart=apart)).all()
    return _those_of(lanes, (((row.connection_id, row.entity, row.local_id), row) for row in rows))


@built_once
def _waiting_upserts(connection_ids: Any, entities: Any, ids: Any, *, apart: bool) -> Asked:
    found = (
        sa.select(DELIVERY.id, DELIVERY.connection_id, DELIVERY.entity, DELIVERY.local_id, DELIVERY.state,
                  DELIVERY.attempts, DELIVERY.deferrals, DELIVERY.due_at, DELIVERY.blocked_entity, DELIVERY.blocked_id,
                  DELIVERY.deadline_at)
        .where(_UPSERTS).with_for_update()
    )
    return _in_lanes(found, DELIVERY, (connection_ids, entities, ids), apart=apart)


def waiting_deletes(session: Session, lanes: Collection[Lane]) -> dict[Lane, str]:
    """Return the id of the delete that waits in each lane, locked."""
    if not lanes:
        return {}
    given, apart = keys_of(session, lanes)
    rows = session.execute(*_waiting_deletes(*given, apart=apart)).all()
    return _those_of(lanes, (((row.connection_id, row.entity, row.local_id), row.id) for row in rows))


@built_once
def _waiting_deletes(connection_ids: Any, entities: Any, ids: Any, *, apart: bool) -> Asked:
    found = (
        sa.select(DELIVERY.id, DELIVERY.connection_id, DELIVERY.entity, DELIVERY.local_id)
        .where(_FACTS, DELIVERY.op == "delete").with_for_update()
    )
    return _in_lanes(found, DELIVERY, (connection_ids, entities, ids), apart=apart)


def blocked_on(session: Session, keys: Collection[Lane], *, locked: bool = False) -> list[Any]:
    """Return what is blocked until one of these records is there, of each the lane that it waits for."""
    if not keys:
        return []
    given, apart = keys_of(session, keys)
    wanted = set(keys)
    return [row for row in session.execute(*_blocked_on(*given, apart=apart, locked=locked))
            if (row.connection_id, row.blocked_entity, row.blocked_id) in wanted]


@built_once
def _blocked_on(connection_ids: Any, entities: Any, ids: Any, *, apart: bool, locked: bool) -> Asked:
    found = sa.select(
        DELIVERY.id, DELIVERY.connection_id, DELIVERY.entity, DELIVERY.local_id, DELIVERY.source_version,
        DELIVERY.blocked_entity, DELIVERY.blocked_id,
    ).where(OfMost(sa.text("delivery.state = 'blocked'")))
    return of_keys(found.with_for_update() if locked else found,
                   (unindexed(DELIVERY.connection_id), DELIVERY.blocked_entity, DELIVERY.blocked_id),
                   (connection_ids, entities, ids), apart=apart)


def open_lanes(session: Session, lanes: Collection[Lane]) -> set[Lane]:
    """Return those of `lanes` in which something is open."""
    return _those_with(session, lanes, (_FLYING, _UPSERTS, _FACTS))


def in_flight(session: Session, lanes: Collection[Lane]) -> set[Lane]:
    """Return those of `lanes` in which a call is on its way or in doubt."""
    return _those_with(session, lanes, (_FLYING,))


def waiting(session: Session, lanes: Collection[Lane]) -> set[Lane]:
    """Return those of `lanes` in which something waits to be sent."""
    return _those_with(session, lanes, (_UPSERTS, _FACTS))


def _those_with(session: Session, lanes: Collection[Lane], kinds: tuple[Any, ...]) -> set[Lane]:
    if not lanes:
        return set()
    given, apart = keys_of(session, lanes)
    rows = session.execute(*_lanes_with(*given, apart=apart, kinds=kinds))
    return {(row[0], row[1], row[2]) for row in rows} & set(lanes)


@built_once
def _lanes_with(connection_ids: Any, entities: Any, ids: Any, *, apart: bool, kinds: tuple[Any, ...]) -> Any:
    lane = sa.select(DELIVERY.connection_id, DELIVERY.entity, DELIVERY.local_id)
    found = [_in_lanes(lane.where(kind), DELIVERY, (connection_ids, entities, ids), apart=apart) for kind in kinds]
    return sa.union_all(*found) if len(found) > 1 else found[0]


def creations(session: Session, connection_id: str, entity: str) -> list[dt.datetime]:
    """Return since when each record that is being made at a target, or may have been made there, is under way."""
    return [begun for begun in session.execute(*_creations(connection_id, entity)).scalars() if begun is not None]


@built_once
def _creations(connection_id: str, entity: str) -> Asked:
    named = sa.select(1).where(same_lane(BINDING, DELIVERY), BINDING.external_id.is_not(None)).exists()
    begun = sa.case((DELIVERY.state == "in_doubt", DELIVERY.created_at), else_=ATTEMPT.started_at)
    return (
        sa.select(begun)
        .select_from(table_of(Delivery).outerjoin(
            table_of(Attempt), sa.and_(ATTEMPT.delivery_id == DELIVERY.id, ATTEMPT.n == DELIVERY.fence)))
        .where(DELIVERY.connection_id == connection_id, DELIVERY.entity == entity,
               one_of("delivery.state", IN_FLIGHT), DELIVERY.op == "upsert", ~named)
    )


def concerned(session: Session, entity: str, local_id: str, *, routed: bool, awaited: bool) -> list[str]:
    """Return the connections that a change of a record goes to.

    Args:
        session, entity, local_id: the transaction, and the record.
        routed: whether it goes wherever an active route carries `entity`.
        awaited: whether it goes wherever something is blocked until it is there, with or without such a route.
    """
    if not routed and not awaited:
        return []
    return list(session.execute(*_concerned(entity, local_id, routed=routed, awaited=awaited)).scalars())


@built_once
def _concerned(entity: str, local_id: str, *, routed: bool, awaited: bool) -> Any:
    to_route = (
        sa.select(ROUTE.connection_id).join(table_of(Connection), CONNECTION.id == ROUTE.connection_id)
        .where(ROUTE.entity == entity, ROUTE.state == "active", ROUTE.direction.in_(("push", "both")),
               CONNECTION.desired_state != "stopped"))
    to_blocked = sa.select(DELIVERY.connection_id).where(
        sa.text("delivery.state = 'blocked'"), DELIVERY.blocked_entity == entity, DELIVERY.blocked_id == local_id)
    ways = [way for way, wanted in ((to_route, routed), (to_blocked, awaited)) if wanted]
    return sa.union(*ways).order_by("connection_id")
