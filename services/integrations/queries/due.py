"""What is due: deliveries that may be taken or looked up, leases that are over, polls and runs.

Every query here has an index to itself and a test that shows its plan: a million waiting rows must not slow a claim.
The states are literal text, because a planner matches a partial index by text, not by a bound value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from services.integrations.domain import runs
from services.integrations.domain.deliveries import CLAIMABLE, IN_FLIGHT, WAITING
from services.integrations.models import Attempt, Connection, Cursor, Delivery, Route, Run
from services.integrations.models.base import one_of
from services.integrations.queries.lanes import same_lane
from services.integrations.queries.statements import Asked, table_of, unindexed
from services.integrations.queries.tables import ATTEMPT, CONNECTION, CURSOR, DELIVERY, ROUTE, RUN


def claimable(connection_id: str, priority: int, now: dt.datetime, limit: int) -> Asked:
    """Select ids of due deliveries, longest due first, each the first of its lane and with nothing of it in flight."""
    flying, earlier, fact = (table_of(Delivery).alias(name).c for name in ("flying", "earlier", "fact"))
    in_flight = sa.select(1).where(same_lane(flying, DELIVERY), one_of("flying.state", IN_FLIGHT))
    upsert_before = sa.select(1).where(
        same_lane(earlier, DELIVERY), one_of("earlier.state", WAITING), sa.text("earlier.op = 'upsert'"),
        unindexed(earlier.id) < DELIVERY.id)
    both_facts = sa.and_(fact.op == "append", DELIVERY.op == "append")
    earlier_fact = sa.and_(unindexed(fact.id) < DELIVERY.id, fact.state != "dead")
    fact_before = sa.select(1).where(
        same_lane(fact, DELIVERY), one_of("fact.state", (*WAITING, "dead")), sa.text("fact.op <> 'upsert'"),
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
