"""Finding what was forgotten: leases that ended, deliveries blocked on something that has come or never will.

A sweep settles deliveries and accepts new ones as a turn does, so it takes its turn: the connections are locked first.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.domain import failures
from services.integrations.domain.retry import Chance, probe_s
from services.integrations.models import Attempt, Cursor, Delivery, Run
from services.integrations.operations import announcements, claims, dependents
from services.integrations.operations.bulk import update_each
from services.integrations.operations.leases import Move, write_back
from services.integrations.operations.locks import lock
from services.integrations.queries import due, lanes

BATCH = 500
"""Rows that one sweep takes in hand; the rest follow at once in further transactions."""


def end_leases(session: Session, gone: Collection[str], now: dt.datetime, chance: Chance) -> int:
    """Take back what a process held when its lease ended or it is known to be gone; return how many rows.

    Was a call made? The attempt tells: open, it may have reached the target, so the delivery is in doubt; none, nothing
    left and it simply waits again.
    """
    seen = {row.connection_id for row in session.execute(due.expired_leases(now, gone, BATCH))}
    if not seen:
        return 0
    turn = lock(session, seen)
    rows = session.execute(due.expired_leases(now, gone, BATCH, of=list(turn))).all()
    wait = probe_s(0, chance) or 0.0
    moves = [_taken_back(row, now, wait) for row in rows if row.state == "leased"]
    write_back(session, moves, now)
    table: Any = Delivery.__table__
    # A look-up that was cut off is simply made again.
    update_each(session, table, [
        {"id": row.id, "fence": row.fence, "lease_owner": None, "lease_until": None, "due_at": now}
        for row in rows if row.state == "in_doubt"], match=("id", "fence"))
    attempts: Any = Attempt.__table__
    update_each(session, attempts, [
        {"delivery_id": row.id, "n": row.fence, "ended_at": now, "outcome": "lost"} for row in rows if row.called],
        match=("delivery_id", "n"), where="attempt.ended_at IS NULL")
    return len(rows)


def end_reads(session: Session, gone: Collection[str]) -> None:
    """Let go the cursors and runs that processes which are gone had in hand; the next begins with the same page."""
    for held in (Cursor, Run):
        session.execute(sa.update(held).where(held.lease_owner.in_(gone)).values(lease_owner=None, lease_until=None))


def _taken_back(row: Any, now: dt.datetime, wait_s: float) -> Move:
    lane = (row.connection_id, row.entity, row.local_id)
    common: dict[str, Any] = {"id": row.id, "lane": lane, "op": row.op, "fence": row.fence, "before": "leased",
                              "deferrals": row.deferrals, "deadline_at": row.deadline_at,
                              "last_call": row.last_call}
    if not row.called:
        return Move(**common, after="pending", due_at=now, attempts=row.attempts)
    return Move(**common, after="in_doubt", due_at=now + dt.timedelta(seconds=wait_s), attempts=row.attempts + 1,
                doubt_since=now, error_class=failures.AMBIGUOUS,
                error="the process that made the call ended before it could say what came of it")


def release_blocked(session: Session, now: dt.datetime) -> tuple[int, set[str]]:
    """Look again at deliveries that wait for a record; return how many, and the connections that now have work."""
    seen = {row.connection_id for row in session.execute(due.blocked_due(now, BATCH))}
    if not seen:
        return 0, set()
    turn = lock(session, seen)
    rows = session.execute(due.blocked_due(now, BATCH, of=list(turn))).all()
    wanted = {(row.connection_id, row.blocked_entity, row.blocked_id) for row in rows}
    bound = {lane for lane, found in lanes.bindings(session, wanted).items() if found.external_id}
    coming = lanes.open_lanes(session, wanted - bound)
    here = [row for row in rows if _awaited(row) in bound]
    lost = {_awaited(row): "it never reached this service, or was refused there" for row in rows
            if row.deadline_at is not None and row.deadline_at <= now and _awaited(row) not in bound | coming}
    waiting = [row for row in rows if _awaited(row) not in bound and _awaited(row) not in lost]
    _set(session, here, {"state": "pending", "due_at": now, "blocked_entity": None, "blocked_id": None,
                         "error_class": None, "last_error": None})
    _set(session, waiting, {"due_at": now + dt.timedelta(seconds=failures.RECHECK_S)})
    announcements.deliveries_settled(session, dependents.end(session, lost, now))
    claims.export(session, wanted - bound - coming - set(lost), now)
    return len(rows), {row.connection_id for row in rows}


def _awaited(row: Any) -> lanes.Lane:
    return row.connection_id, row.blocked_entity, row.blocked_id


def _set(session: Session, rows: Sequence[Any], values: dict[str, Any]) -> None:
    if rows:
        session.execute(sa.update(Delivery).where(Delivery.id.in_([row.id for row in rows]),
                                                  sa.text("delivery.state = 'blocked'")).values(values))
