"""Forgetting what was settled long ago, with its attempts; the ledger keeps the count, in the same transaction.

What runs have found is forgotten as long after their end.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.domain.deliveries import PRUNABLE
from services.integrations.models import Attempt, Conflict, Delivery, Finding, LedgerRow, Run
from services.integrations.operations.bulk import delete_some
from services.integrations.queries.statements import table_of

BATCH = 500
"""Rows that one transaction looks at: some ten milliseconds, during which SQLite takes no other writer."""
_ATTEMPT, _DELIVERY, _LEDGER = table_of(Attempt), table_of(Delivery), table_of(LedgerRow)
_FINDING, _RUN = table_of(Finding), table_of(Run)
_CONFLICT = table_of(Conflict).c
_DISPUTED = sa.select(1).where(
    _CONFLICT.local_id == _DELIVERY.c.local_id, _CONFLICT.connection_id == _DELIVERY.c.connection_id,
    _CONFLICT.entity == _DELIVERY.c.entity, sa.text("conflict.state = 'open'")).exists()
"""Whoever decides a conflict has to see what was asked for its record last: whether it was to go, for one."""


@dataclass(frozen=True)
class Page:
    """Where the walk stands: how many rows went, and the id to go on after; None at the end."""

    pruned: int
    after: str | None


def prune(session: Session, after: str, before: dt.datetime) -> Page:
    """Delete what was settled before `before` among the next `BATCH` deliveries after the id `after`.

    Ids rise with time, so the walk along the primary key sees the oldest first and needs no index of its own, which
    every delivery would have to pay for. What needs a person (dead, or of a record in an open conflict) or is still to
    be done stays, however old it is.
    """
    old = _DELIVERY.c
    seen = session.execute(sa.select(old.id, old.created_at, old.state, old.settled_at, old.replay_of)
                           .where(old.id > after).order_by(old.id).limit(BATCH)).all()
    settled = [row for row in seen if row.state in PRUNABLE and row.settled_at and row.settled_at < before]
    # What was sent in the place of a dead one tells that nobody need see to that one any more.
    replaced = _dead(session, [row.replay_of for row in settled if row.replay_of])
    old_ids = [row.id for row in settled if row.replay_of not in replaced]
    pruned = _delete(session, old_ids) if old_ids else 0
    at_end = len(seen) < BATCH or seen[-1].created_at >= before
    return Page(pruned, None if at_end else seen[-1].id)


def _dead(session: Session, ids: list[str]) -> set[str]:
    """Return those of these deliveries that are dead."""
    if not ids:
        return set()
    dead = sa.select(_DELIVERY.c.id).where(_DELIVERY.c.id.in_(ids), sa.text("delivery.state = 'dead'"))
    return set(session.scalars(dead))


def _delete(session: Session, ids: list[str]) -> int:
    """Delete these settled deliveries, but none in dispute; each is counted by the one process that holds it."""
    ours = sa.select(_DELIVERY.c.id, _DELIVERY.c.connection_id, _DELIVERY.c.state)
    held = session.execute(ours.where(_DELIVERY.c.id.in_(ids), ~_DISPUTED).order_by(_DELIVERY.c.id)
                           .with_for_update(skip_locked=True)).all()
    gone = [row.id for row in held]
    session.execute(sa.delete(_ATTEMPT).where(_ATTEMPT.c.delivery_id.in_(gone)))
    session.execute(sa.delete(_DELIVERY).where(_DELIVERY.c.id.in_(gone)))
    counted: dict[str, Counter[str]] = {}
    for row in held:
        counted.setdefault(row.connection_id, Counter())[row.state] += 1
    for connection_id, states in sorted(counted.items()):
        risen: dict[str, Any] = {state: _LEDGER.c[state] + many for state, many in states.items()}
        session.execute(sa.update(_LEDGER).where(_LEDGER.c.connection_id == connection_id).values(risen))
    return len(gone)


def forget_findings(session: Session, before: dt.datetime) -> bool:
    """Delete some findings of runs that ended before; return whether there may be more. The runs stay."""
    return delete_some(session, _FINDING, _FINDING.c.run_id.in_(sa.select(_RUN.c.id).where(_RUN.c.ended_at < before)))
