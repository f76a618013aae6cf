"""What the engine asks: which deliveries may be taken now, which lanes are bound, what has been forgotten.

Every query here has an index to itself and a test that shows its plan: a million waiting rows must not slow a claim.
The states are literal text, because a planner matches a partial index by text, not by a bound value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.domain import runs
from services.integrations.domain.deliveries import CLAIMABLE, IN_FLIGHT, WAITING
from services.integrations.models import Attempt, Binding, Conflict, Connection, Cursor, Delivery, Record, Route, Run
from services.integrations.models.base import one_of
from services.integrations.queries.statements import OfMost, built_once, keys_of, of_keys, table_of

Asked: TypeAlias = "sa.Select[*tuple[Any, ...]]"
"""A query that is not run yet, so that a test can look at its plan."""
Lane = tuple[str, str, str]
"""(connection_id, entity, local_id)."""
K = TypeVar("K", bound=tuple[str, ...])
V = TypeVar("V")
ATTEMPT, BINDING, CONFLICT, CONNECTION, CURSOR, DELIVERY, RECORD, ROUTE, RUN = (
    table_of(model).c for model in (Attempt, Binding, Conflict, Connection, Cursor, Delivery, Record, Route, Run))
"""The columns of the tables, not of the models: what is asked a hundred times a second needs no objects."""
_UPSERTS = sa.and_(one_of("delivery.state", WAITING), sa.text("delivery.op = 'upsert'"))
_FACTS = sa.and_(one_of("delivery.state", (*WAITING, "dead")), sa.text("delivery.op <> 'upsert'"),
                 DELIVERY.state != "dead")
_FLYING = sa.and_(one_of("delivery.state", IN_FLIGHT))
"""What may be open in a lane, each in the words of its index."""
EVENTS, BACKGROUND = PRIORITIES = (0, 1)
"""The levels in use, first served first. A query per level keeps each a plain walk along its index."""


def _lane_of(one: Any, other: Any) -> sa.ColumnElement[bool]:
    # Told which connection it is, PostgreSQL may gather all its facts or calls, if its statistics do not know of them.
    return sa.and_(one.connection_id == unindexed(other.connection_id), one.entity == other.entity,
                   one.local_id == other.local_id)


def unindexed(column: Any) -> sa.ColumnElement[str]:
    """Return `column` so that no planner walks the whole history of a lane for its sake: what waits is one row."""
    return column.concat(sa.literal_column("''"))  # type: ignore[no-any-return]


def claimable(connection_id: str, priority: int, now: dt.datetime, limit: int) -> Asked:
    """Select ids of due deliveries, longest due first, each the first of its lane and with nothing of it in flight."""
    flying, earlier, fact = (table_of(Delivery).alias(name).c for name in ("flying", "earlier", "fact"))
    in_flight = sa.select(1).where(_lane_of(flying, DELIVERY), one_of("flying.state", IN_FLIGHT))
    upsert_before = sa.select(1).where(
        _lane_of(earlier, DELIVERY), one_of("earlier.state", WAITING), sa.text("earlier.op = 'upsert'"),
        unindexed(earlier.id) < DELIVERY.id)
    both_facts = sa.and_(fact.op == "append", DELIVERY.op == "append")
    earlier_fact = sa.and_(unindexed(fact.id) < DELIVERY.id, fact.state != "dead")
    fact_before = sa.select(1).where(
        _lane_of(fact, DELIVERY), one_of("fact.state", (*WAITING, "dead")), sa.text("fact.op <> 'upsert'"),
        sa.case((both_facts, _goes_before(fact)), else_=earlier_fact))
    return (
        sa.select(DELIVERY.id)
        .where(DELIVERY.connection_id == connection_id, one_of("delivery.state", CLAIMABLE),
               DELIVERY.priority == priority, DELIVERY.due_at <= now,
               *map(_none, (in_flight, upsert_before, fact_before)))
        .order_by(DELIVERY.due_at, DELIVERY.id).limit(limit)
        .with_for_update(skip_locked=True, of=table_of(Delivery))
    )


def _none(found: sa.Select[Any]) -> sa.ColumnElement[bool]:
    # Of `NOT EXISTS` PostgreSQL makes a join; without statistics it takes the waiting to be one, and would walk along
    # all of them for each candidate. Of `IS NULL` it holds that it is rarely so: with statistics it takes one candidate
    # in millions to be left, and would look at all of them and sort what is left.
    return found.with_only_columns(sa.true()).limit(1).scalar_subquery().is_not(sa.true())


def _goes_before(fact: Any) -> sa.ColumnElement[bool]:
    """Tell of two facts whether the other goes first.

    They go in the order in which they happened, and stop behind a dead one, for the target would see the second payment
    without the first; sent again, that one takes its place by having its version.
    """
    again = table_of(Delivery).alias("again").c
    replayed = sa.select(1).where(again.replay_of == fact.id, sa.text("again.state <> 'cancelled'")).exists()
    older = sa.or_(fact.source_version < DELIVERY.source_version, sa.and_(
        fact.source_version == DELIVERY.source_version, unindexed(fact.id) < DELIVERY.id))
    return sa.and_(older, sa.or_(fact.state != "dead", ~replayed))


def doubts_due(connection_id: str, now: dt.datetime, limit: int) -> Asked:
    """Select ids of a connection's deliveries in doubt whose look-up is due, longest due first."""
    return (
        sa.select(DELIVERY.id)
        .where(sa.text("delivery.state = 'in_doubt'"), DELIVERY.due_at <= now, DELIVERY.lease_owner.is_(None),
               DELIVERY.connection_id == connection_id)
        .order_by(DELIVERY.due_at).limit(limit).with_for_update(skip_locked=True)
    )


def unresolved(session: Session, connection_id: str, most: int) -> int:
    """Return how many deliveries of a connection a look at the target has left in doubt, counting up to `most`."""
    return int(session.execute(*_unresolved(connection_id, most)).scalar_one())


@built_once
def _unresolved(connection_id: str, most: int) -> Asked:
    some = (sa.select(DELIVERY.id).where(DELIVERY.connection_id == connection_id,
                                         sa.text("delivery.state = 'in_doubt'"), DELIVERY.probes > 0).limit(most))
    return sa.select(sa.func.count()).select_from(some.subquery())


def expired_leases(now: dt.datetime, gone: Collection[str], limit: int,
                   of: Collection[str] | None = None) -> Asked:
    """Select deliveries whose lease has ended, or belongs to a process that is known to be gone.

    With `of`, those of these connections, locked; without, all, as they are.
    """
    over = DELIVERY.lease_until < now
    found = (
        sa.select(DELIVERY.id, DELIVERY.connection_id, DELIVERY.entity, DELIVERY.local_id, DELIVERY.op, DELIVERY.state,
                  DELIVERY.fence, DELIVERY.attempts, DELIVERY.deferrals, DELIVERY.deadline_at, DELIVERY.last_call,
                  sa.select(1).where(ATTEMPT.delivery_id == DELIVERY.id, ATTEMPT.n == DELIVERY.fence,
                                     ATTEMPT.ended_at.is_(None)).exists().label("called"))
        .where(DELIVERY.lease_until.is_not(None),
               sa.or_(over, DELIVERY.lease_owner.in_(gone)) if gone else over)
        .order_by(DELIVERY.lease_until).limit(limit)
    )
    return found if of is None else _locked_of(found, of)


def _locked_of(found: Asked, connection_ids: Collection[str]) -> Asked:
    return (found.where(DELIVERY.connection_id.in_(connection_ids))
            .with_for_update(skip_locked=True, of=table_of(Delivery)))


def lease_owners() -> sa.CompoundSelect[Any]:
    """Select the processes that hold leases, of deliveries, cursors or runs."""
    return sa.union(*(sa.select(held.lease_owner).where(held.lease_until.is_not(None))
                      for held in (DELIVERY, CURSOR, RUN)))


def blocked_due(now: dt.datetime, limit: int, of: Collection[str] | None = None) -> Asked:
    """Select blocked deliveries that it is time to look at again; `of` as for `expired_leases`."""
    found = (
        sa.select(DELIVERY.id, DELIVERY.connection_id, DELIVERY.blocked_entity, DELIVERY.blocked_id,
                  DELIVERY.deadline_at)
        .where(sa.text("delivery.state = 'blocked'"), DELIVERY.due_at <= now)
        .order_by(DELIVERY.due_at).limit(limit)
    )
    return found if of is None else _locked_of(found, of)


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
    named = sa.select(1).where(_lane_of(BINDING, DELIVERY), BINDING.external_id.is_not(None)).exists()
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


def _is_closed() -> sa.ColumnElement[bool]:
    return sa.and_(CONNECTION.breaker_open_until.is_(None), CONNECTION.breaker_step.is_(None))


def cursors_due(now: dt.datetime, limit: int, *, locked: bool = True) -> Asked:
    """Select the keys of cursors whose poll is due and whose connection and route are active.

    None of one that is half open: what goes there first are deliveries, as few at a time as the breaker says.
    A first pass waits for the calls that were under way when it became due: they are not remembered as our own, and
    what they write after it was read would be told as a change of theirs.
    """
    unknown = (
        sa.select(1).select_from(table_of(Delivery).join(
            table_of(Attempt), sa.and_(ATTEMPT.delivery_id == DELIVERY.id, ATTEMPT.n == DELIVERY.fence)))
        .where(DELIVERY.lease_until.is_not(None), DELIVERY.connection_id == CURSOR.connection_id,
               DELIVERY.entity == CURSOR.entity, ATTEMPT.started_at <= CURSOR.due_at)
        .correlate(table_of(Cursor)).exists())
    found = (
        sa.select(CURSOR.connection_id, CURSOR.entity, CURSOR.direction, CURSOR.partition)
        .join(table_of(Connection), CONNECTION.id == CURSOR.connection_id)
        .join(table_of(Route), sa.and_(ROUTE.connection_id == CURSOR.connection_id, ROUTE.entity == CURSOR.entity))
        .where(CURSOR.due_at <= now, sa.or_(CURSOR.lease_until.is_(None), CURSOR.lease_until < now),
               CONNECTION.desired_state == "active", _is_closed(),
               ROUTE.state == "active", ROUTE.direction.in_(("pull", "both")), ~sa.and_(CURSOR.first_pass, unknown),
               sa.or_(CONNECTION.throttled_until.is_(None), CONNECTION.throttled_until <= now))
        .order_by(CURSOR.due_at).limit(limit)
    )
    return found.with_for_update(skip_locked=True, of=table_of(Cursor)) if locked else found


def runs_due(now: dt.datetime, limit: int, *, locked: bool = True) -> Asked:
    """Select the ids of runs whose next page is due and whose connection may be called, longest due first.

    None of one that is half open, as with polls.
    """
    found = (
        sa.select(RUN.id).join(table_of(Connection), CONNECTION.id == RUN.connection_id)
        .where(one_of("run.state", runs.CLAIMABLE), RUN.due_at <= now,
               sa.or_(RUN.lease_until.is_(None), RUN.lease_until < now),
               CONNECTION.desired_state == "active", _is_closed(),
               sa.or_(CONNECTION.throttled_until.is_(None), CONNECTION.throttled_until <= now))
        .order_by(RUN.due_at).limit(limit)
    )
    return found.with_for_update(skip_locked=True, of=table_of(Run)) if locked else found
