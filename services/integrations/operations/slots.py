"""How many calls a connection bears at once, over all processes, and which leases count as one.

A lease is on a slot, and its call may be on the wire; or it is ahead, and waits in the memory of its process until a
slot of that process comes free. The slot of a call that has come back is counted until the turn that settles it, so it
can be passed on at once: that turn also writes down who has it now.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.models import Connection, Delivery
from services.integrations.operations.bulk import update_each
from services.integrations.operations.jobs import Job
from services.integrations.queries.statements import Asked, built_once, table_of, unindexed

_DELIVERY = table_of(Delivery)


def may_be_called(connection: Connection, now: dt.datetime) -> bool:
    """Tell whether a connection stands open: wanted, not down, and not asked to wait."""
    return (connection.desired_state == "active" and connection.breaker_open_until is None
            and (connection.throttled_until is None or connection.throttled_until <= now))


def may_run_ahead(connection: Connection, now: dt.datetime) -> bool:
    """Tell whether more of a connection may be leased than it bears calls: not while they come back a few at a time."""
    return may_be_called(connection, now) and connection.breaker.state == "closed"


def room(session: Session, connections: Iterable[Connection], now: dt.datetime) -> list[tuple[Connection, int]]:
    """Return each connection that may be called now with the calls that it still has room for, over all processes.

    Every lease on a slot is a call, a look-up too.
    """
    open_ = [connection for connection in connections if may_be_called(connection, now)]
    if not open_:
        return []
    counted: dict[str, int] = {row[0]: row[1] for row in session.execute(*_on_slots([c.id for c in open_]))}
    return [(c, c.breaker.room(c.max_in_flight) - counted.get(c.id, 0)) for c in open_]


@built_once
def _on_slots(connection_ids: Collection[str]) -> Asked:
    # By what is leased, which is little; by connection, SQLite would walk over all that waits.
    connection_id = unindexed(_DELIVERY.c.connection_id)
    return (sa.select(connection_id, sa.func.count())
            .where(connection_id.in_(connection_ids), sa.text("delivery.lease_until IS NOT NULL"),
                   sa.not_(_DELIVERY.c.ahead))
            .group_by(connection_id))


def place(session: Session, *, on: Iterable[Job], ahead: Iterable[Job]) -> None:
    """Write down which of our leases are on a slot by now, and which wait for one."""
    rows = [{"id": job.delivery_id, "fence": job.fence, "ahead": waits}
            for jobs, waits in ((on, False), (ahead, True)) for job in jobs]
    update_each(session, _DELIVERY, rows, match=("id", "fence"), where="delivery.lease_until IS NOT NULL")
