"""Taking deliveries in doubt, to look at the target whether the lost call arrived."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.models import Delivery
from services.integrations.operations.claims import Job, Lease, open_attempts
from services.integrations.queries import lanes


def claim(session: Session, limit: int, lease: Lease, now: dt.datetime) -> Sequence[Job]:
    """Lease up to `limit` due doubts and open an attempt for the look-up of each. They stay in doubt meanwhile."""
    picked = lanes.doubts_due(now, limit).cte("picked")
    rows = session.execute(
        sa.update(Delivery).where(Delivery.id.in_(sa.select(picked.c.id)))
        .values(lease_owner=lease.owner, lease_until=lease.until, fence=Delivery.fence + 1, probes=Delivery.probes + 1)
        .returning(*Delivery.__table__.c)).all()
    bound = lanes.bindings(session, {(row.connection_id, row.entity, row.local_id) for row in rows})
    jobs = [_job(row, bound.get((row.connection_id, row.entity, row.local_id))) for row in rows]
    open_attempts(session, jobs, now)
    return jobs


def _job(row: Any, binding: Any) -> Job:
    return Job(delivery_id=row.id, connection_id=row.connection_id, entity=row.entity, local_id=row.local_id, op=row.op,
               action="find", fence=row.fence, attempts=row.attempts, deferrals=row.deferrals,
               version=row.source_version, key=row.idempotency_key, probes=row.probes, doubt_since=row.doubt_since,
               external_id=binding.external_id if binding else None)
