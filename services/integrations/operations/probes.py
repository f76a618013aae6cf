"""Taking deliveries in doubt, to look at the target whether the lost call arrived."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.sealed import keyring_of
from services.integrations.adapters import registry
from services.integrations.models import Connection, Delivery
from services.integrations.operations.claims import Lease, open_attempts
from services.integrations.operations.jobs import Job
from services.integrations.operations.snapshots import sought_before
from services.integrations.queries import due, lanes
from services.integrations.queries.statements import built_once, table_of

_DELIVERY = table_of(Delivery)


def claim(session: Session, connection_id: str, limit: int, lease: Lease, now: dt.datetime) -> Sequence[Job]:
    """Lease up to `limit` due doubts of a connection and open an attempt for the look-up of each.

    They stay in doubt meanwhile. A look-up counts when it is settled, so that one that was cut off costs nothing.
    """
    rows = session.execute(*_leasing(connection_id, now, limit, lease.owner, lease.until)).all()
    bound = lanes.bindings(session, {(row.connection_id, row.entity, row.local_id) for row in rows})
    connection = session.get_one(Connection, connection_id)
    spec, keyring = registry.load(connection.adapter).spec, keyring_of(session)
    jobs = []
    for row in rows:
        binding = bound.get((row.connection_id, row.entity, row.local_id))
        sought = sought_before(keyring, binding)
        if sought is None:
            sought = spec.sought_by(row.entity, row.local_id, None)
        jobs.append(_job(row, binding, connection.pulls(row.entity), sought))
    open_attempts(session, jobs, now)
    return jobs


@built_once
def _leasing(connection_id: str, now: dt.datetime, limit: int, owner: str, until: dt.datetime) -> sa.Executable:
    picked = due.doubts_due(connection_id, now, limit).cte("picked")
    return (
        sa.update(_DELIVERY).where(_DELIVERY.c.id.in_(sa.select(picked.c.id)))
        .values(ahead=False, lease_owner=owner, lease_until=until, fence=_DELIVERY.c.fence + 1)
        .returning(*_DELIVERY.c)
    )


def _job(row: Any, binding: Any, pulled: bool, sought: Mapping[str, str] | None) -> Job:
    return Job(delivery_id=row.id, connection_id=row.connection_id, entity=row.entity, local_id=row.local_id, op=row.op,
               action="find", fence=row.fence, attempts=row.attempts, deferrals=row.deferrals,
               version=row.source_version, key=row.idempotency_key, probes=row.probes, doubt_since=row.doubt_since,
               external_id=binding.external_id if binding else None, traceparent=row.traceparent,
               last_call=row.last_call,
               accepted_at=row.created_at, deadline_at=row.deadline_at, pulled=pulled, sought=sought,
               due_at=row.due_at, doubted_as=row.error_class)
