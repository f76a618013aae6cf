"""What a round of the dispatcher begins with: the connections that something is to be done with now."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.domain.breaker import Breaker
from services.integrations.domain.deliveries import BACKGROUND, CLAIMABLE, PRIORITIES
from services.integrations.models import Connection
from services.integrations.models.base import one_of
from services.integrations.queries.statements import Asked, built_once, table_of
from services.integrations.queries.tables import CONNECTION, DELIVERY


def due_connections(now: dt.datetime) -> Asked:
    """Select, for each active connection that is not throttled, what its breaker and the look for due rows need.

    Those are its id, its breaker's columns, and when its next delivery is due (may be null).
    """
    firsts = [
        sa.select(DELIVERY.due_at)
        .where(DELIVERY.connection_id == CONNECTION.id, one_of("delivery.state", CLAIMABLE),
               DELIVERY.priority == priority)
        .order_by(DELIVERY.due_at).limit(1).correlate(table_of(Connection)).scalar_subquery()
        for priority in PRIORITIES
    ]
    breaker = (CONNECTION.breaker_open_until, CONNECTION.breaker_opened_at, CONNECTION.breaker_alerts,
               CONNECTION.breaker_step, CONNECTION.breaker_window, CONNECTION.throttled_until,
               CONNECTION.last_success_at)
    return sa.select(CONNECTION.id, *breaker, *firsts).where(
        CONNECTION.desired_state == "active",
        sa.or_(CONNECTION.throttled_until.is_(None), CONNECTION.throttled_until <= now,
               CONNECTION.breaker_open_until.is_not(None)))


_due_connections = built_once(due_connections)


@dataclass(frozen=True)
class Due:
    """Connections that something is to be done with now."""

    to_send: set[str]
    to_check: set[str]
    """Their target is down, or was and has been sent nothing since, and it is time to see whether it answers."""
    to_tend: set[str]
    """An alert is due, a pause is over, or one that is half open has had nothing more to do."""
    background: set[str]
    """Those to send to where something waits behind the events."""


def due(session: Session, now: dt.datetime) -> Due:
    """Return the ids of connections that something is to be done with now."""
    found = Due(set(), set(), set(), set())
    for id, open_until, opened_at, alerts, step, window, throttled_until, last_success_at, *firsts in session.execute(
            *_due_connections(now)):
        breaker = Breaker(open_until=open_until, opened_at=opened_at, alerts=alerts, step=step, window=window or ())
        paused = throttled_until is not None and throttled_until <= now
        if paused or breaker.alert_due(now) is not None or breaker.rested(now, last_success_at) is not breaker:
            found.to_tend.add(id)
        if breaker.check_due(now):
            found.to_check.add(id)
        elif open_until is None and any(first is not None and first <= now for first in firsts):
            found.to_send.add(id)
            if firsts[BACKGROUND] is not None and firsts[BACKGROUND] <= now:
                found.background.add(id)
    return found


def doubtful(session: Session, now: dt.datetime) -> set[str]:
    """Return the connections that may be called and where a look-up is due."""
    return set(session.execute(*_doubtful(now)).scalars())


@built_once
def _doubtful(now: dt.datetime) -> Asked:
    return (
        sa.select(DELIVERY.connection_id).distinct()
        .join(table_of(Connection), CONNECTION.id == DELIVERY.connection_id)
        .where(sa.text("delivery.state = 'in_doubt'"), DELIVERY.due_at <= now, DELIVERY.lease_owner.is_(None),
               CONNECTION.desired_state == "active", CONNECTION.breaker_open_until.is_(None),
               sa.or_(CONNECTION.throttled_until.is_(None), CONNECTION.throttled_until <= now))
    )
