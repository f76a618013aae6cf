"""Bringing in what changed at a target: a page of changes and the checkpoint behind it, in one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from contracts.errors import Conflict
from services.integrations.domain import failures
from services.integrations.domain.retry import Chance
from services.integrations.models import Connection, Cursor, Route
from services.integrations.operations import health, hints, inbound
from services.integrations.operations.bulk import Upsert, excluded
from services.integrations.operations.claims import Lease
from services.integrations.operations.inbound import News, Reading, Told
from services.integrations.operations.locks import lock
from services.integrations.queries import due
from services.integrations.queries.statements import built_once, table_of

_CURSOR = table_of(Cursor)
_BEGUN = Upsert(_CURSOR, changing={
    **{name: excluded(_CURSOR.c[name]) for name in ("checkpoint", "due_at", "failures", "last_error", "lease_owner",
                                                    "lease_until", "first_pass")},
    "fence": _CURSOR.c.fence + 1})
_DUE_NOW = Upsert(_CURSOR, changing={"due_at": excluded(_CURSOR.c.due_at)})
_DUE_UNLESS_FAILING = Upsert(_CURSOR, changing={"due_at": excluded(_CURSOR.c.due_at)},
                             where=sa.and_(_CURSOR.c.failures == 0, ~_CURSOR.c.first_pass))
DIRECTION, WHOLE = "pull", ""
"""The direction of a poll's cursor, and the partition of a target that has none."""
RETRY_MOST_S = 600.0
BACK_OFF_S = 5.0
AGAIN = dt.timedelta(seconds=1)
"""After so long a page or a record is read again that crossed a write of ours, or a message that came meanwhile."""
TURNED = dt.timedelta(seconds=1)
"""A claim that began as a route was turned may have seen it as it was; by then it has ended."""


class LeaseLost(Exception):
    """Another process reads this cursor now; what we have read is not recorded."""


@dataclass(frozen=True, kw_only=True)
class Pull:
    """A cursor that is ours to read from; `first_pass` until it has come to the end once."""

    connection_id: str
    entity: str
    checkpoint: str | None
    fence: int
    failures: int
    first_pass: bool = False


def start(session: Session, connection_id: str, entity: str, now: dt.datetime) -> None:
    """Make the cursor of a route that has been switched on, due now; one that exists goes on from its checkpoint."""
    row = {"connection_id": connection_id, "entity": entity, "direction": DIRECTION, "partition": WHOLE, "due_at": now,
           "failures": 0, "fence": 0}
    _DUE_NOW.put(session, [row])


def hint(session: Session, connection_id: str, entity: str, news: Sequence[News], now: dt.datetime) -> None:
    """Have records read as they stand at the target; one that fails to answer is asked no sooner for that."""
    hints.note(session, connection_id, entity, news, now)
    _DUE_UNLESS_FAILING.put(session, [{
        "connection_id": connection_id, "entity": entity, "direction": DIRECTION, "partition": WHOLE, "due_at": now,
        "failures": 0, "fence": 0}])


def begin(session: Session, connection_id: str, entity: str, now: dt.datetime) -> None:
    """Make the cursor of a route that wrote only until now begin at the start.

    What we wrote meanwhile is not known as our own, and what people changed there was nobody's business. So the first
    pass takes what is bound and stands there for known; a page that is being read by an older cursor counts no more.
    It is due once everything is settled that set out before it (`due.cursors_due`).
    """
    row = {"connection_id": connection_id, "entity": entity, "direction": DIRECTION, "partition": WHOLE,
           "due_at": now + TURNED, "failures": 0, "fence": 0, "checkpoint": None, "last_error": None,
           "lease_owner": None, "lease_until": None, "first_pass": True}
    _BEGUN.put(session, [row])


def now(session: Session, connection: Connection, at: dt.datetime) -> list[str]:
    """Make every active pull of a connection due; return the entities.

    Raises:
        Conflict: the connection is not active, or no active route pulls anything over it.
    """
    if connection.desired_state != "active":
        raise Conflict(f"{connection.name} is {connection.desired_state}: resume it first")
    routes = sa.select(Route.entity).where(Route.connection_id == connection.id, Route.state == "active",
                                           Route.direction.in_(("pull", "both")))
    due = (sa.update(Cursor).where(Cursor.connection_id == connection.id, Cursor.entity.in_(routes))
           .values(due_at=at).returning(Cursor.entity))
    entities = sorted(session.execute(due).scalars())
    if not entities:
        raise Conflict(f"No active route pulls anything over {connection.name}")
    return entities


def any_due(session: Session, at: dt.datetime) -> bool:
    """Tell whether a poll is due; asked every second, so it takes no lock."""
    return session.execute(*_cursors_due(at, 1, locked=False)).first() is not None


_cursors_due = built_once(due.cursors_due)


def claim(session: Session, limit: int, lease: Lease, at: dt.datetime) -> list[Pull]:
    """Lease up to `limit` cursors whose poll is due."""
    rows = session.execute(*_leasing(at, limit, lease.owner, lease.until)).all()
    return [Pull(connection_id=row.connection_id, entity=row.entity, checkpoint=row.checkpoint, fence=row.fence,
                 failures=row.failures, first_pass=row.first_pass) for row in rows]


@built_once
def _leasing(at: dt.datetime, limit: int, owner: str, until: dt.datetime) -> sa.Executable:
    picked = due.cursors_due(at, limit).cte("picked")
    key = (_CURSOR.c.connection_id, _CURSOR.c.entity, _CURSOR.c.direction, _CURSOR.c.partition)
    return (sa.update(_CURSOR).where(sa.tuple_(*key).in_(sa.select(*picked.c)))
            .values(lease_owner=owner, lease_until=until, fence=_CURSOR.c.fence + 1).returning(*_CURSOR.c))


def take_in(session: Session, pull: Pull, news: Sequence[News], checkpoint: str | None, reading: Reading, *,
            lease_until: dt.datetime | None, next_due: dt.datetime) -> Told:
    """Announce what is new in a page and move the checkpoint behind it.

    Is something held, the checkpoint stays and the cursor is let go: the page is read again in a moment.

    Args:
        session: the transaction.
        pull: the cursor, with the checkpoint that the page was read from.
        news: the page.
        checkpoint: where the next page begins.
        reading: when and how it was read.
        lease_until: None when this was the last page: the cursor is let go.
        next_due: when it is read again.

    Raises:
        LeaseLost: nothing was written.
    """
    connection = lock(session, [pull.connection_id])[pull.connection_id]
    # What was hinted at while this page was on its way must not wait for the next one.
    due_at = sa.case((hints.WAITING, reading.now + AGAIN), else_=next_due)
    row = {"checkpoint": checkpoint, "due_at": due_at, "lease_until": lease_until, "failures": 0, "last_error": None,
           "last_success_at": reading.now}
    _write(session, pull, row | ({"lease_owner": None, "first_pass": False} if lease_until is None else {}))
    told = inbound.tell(session, pull.connection_id, pull.entity, news, reading)
    if told.held:
        _write(session, pull, {"checkpoint": pull.checkpoint, "due_at": reading.now + AGAIN, "lease_until": None,
                               "lease_owner": None, "first_pass": pull.first_pass})
    health.observe(session, [health.Seen(connection_id=connection.id)], reading.now)
    return told


def take_in_hinted(session: Session, pull: Pull, hint: hints.Noted, one: News | None, reading: Reading, *,
                   lease_until: dt.datetime) -> Told:
    """Announce a record that was hinted at, as it was read, and forget the hint; what is held is read again.

    Args:
        session: the transaction.
        pull: the cursor.
        hint: which record was to be read.
        one: the record; None if it can never be read.
        reading: when and how it was read.
        lease_until: how long the cursor is ours from now on.

    Raises:
        LeaseLost: nothing was written.
    """
    lock(session, [pull.connection_id])
    _write(session, pull, {"lease_until": lease_until})
    told = inbound.tell(session, pull.connection_id, pull.entity, [one] if one else [], reading)
    if not told.held:
        hints.done(session, pull.connection_id, pull.entity, hint)
    return told


def fail(session: Session, pull: Pull, kind: str, message: str, at: dt.datetime, chance: Chance, *,
         retry_after_s: float | None = None, answered: bool = False) -> None:
    """Record that a poll failed, and try again later; the checkpoint stays where it was."""
    connection = lock(session, [pull.connection_id])[pull.connection_id]
    verdict = failures.decide(kind, 1, chance, retry_after_s=retry_after_s)
    wait = max(min(BACK_OFF_S * 2 ** min(pull.failures, 10), RETRY_MOST_S), verdict.throttle_s or 0.0)
    _write(session, pull, {"due_at": at + dt.timedelta(seconds=wait), "failures": pull.failures + 1,
                           "last_error": f"{kind}: {message}"[:1000], "lease_owner": None, "lease_until": None})
    health.observe(session, [health.Seen(connection_id=connection.id, kind=kind, message=message,
                                         answered=answered, throttle_s=verdict.throttle_s, pause=verdict.pause)], at)


def _write(session: Session, pull: Pull, values: Mapping[str, Any]) -> None:
    mine = sa.and_(Cursor.connection_id == pull.connection_id, Cursor.entity == pull.entity,
                   Cursor.direction == DIRECTION, Cursor.partition == WHOLE, Cursor.fence == pull.fence)
    held: Iterable[Any] = session.execute(
        sa.update(Cursor).where(mine).values(dict(values)).returning(Cursor.entity)).all()
    if not list(held):
        raise LeaseLost(f"{pull.connection_id} {pull.entity}")
