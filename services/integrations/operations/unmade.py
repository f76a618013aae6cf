"""Giving back what was leased and not called: it waits again as it did before, and no attempt is used."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.models import Attempt, Binding
from services.integrations.operations.bulk import update_each
from services.integrations.operations.jobs import Job
from services.integrations.operations.leases import Move, write_back
from services.integrations.queries import lanes
from services.integrations.queries.statements import built_once, table_of

_ATTEMPT, _BINDING = table_of(Attempt), table_of(Binding)


def give_back(session: Session, jobs: Sequence[Job], now: dt.datetime) -> set[str]:
    """Let these jobs wait again; return their connections, which have something to do.

    One whose lease another process has taken over meanwhile is that process's.
    """
    held = write_back(session, [_waiting(job) for job in jobs], now)
    ours = [job for job in jobs if job.delivery_id in held]
    update_each(session, _ATTEMPT, [
        {"delivery_id": job.delivery_id, "n": job.fence, "ended_at": now, "outcome": "not_made", "payload_sealed": None}
        for job in ours],
        match=("delivery_id", "n"), where="attempt.ended_at IS NULL")
    begun = [job.lane for job in ours if job.action == "write" and job.bound in (None, "unbound")]
    if begun:
        session.execute(*_unbegun(begun, *(sorted(set(values)) for values in zip(*begun, strict=True))))
    return {job.connection_id for job in jobs}


def _waiting(job: Job) -> Move:
    looks = job.action == "find"
    return Move(id=job.delivery_id, lane=job.lane, op=job.op, fence=job.fence, before="in_doubt" if looks else "leased",
                after="in_doubt" if looks else "pending", due_at=job.due_at, attempts=job.attempts,
                deferrals=job.deferrals, probes=job.probes, doubt_since=job.doubt_since, deadline_at=job.deadline_at,
                error_class=job.doubted_as if looks else None,
                error="looking whether it arrived" if looks else None, last_call=job.last_call)


@built_once
def _unbegun(begun: Collection[lanes.Lane], connection_ids: Collection[str], entities: Collection[str],
             ids: Collection[str]) -> sa.Executable:
    """Forget bindings that were made for these calls: nothing of their records was begun there."""
    lane = (_BINDING.c.connection_id, _BINDING.c.entity, _BINDING.c.local_id)
    return sa.delete(_BINDING).where(
        sa.tuple_(*lane).in_(begun), lane[0].in_(connection_ids), lane[1].in_(entities), lane[2].in_(ids),
        sa.text("binding.state = 'creating'"), _BINDING.c.external_id.is_(None))
