"""What calls tell about a connection: that it works, that its target is down or asks for a pause, or that a person
has to act.

All of it lies on the connection's row, which a turn has locked anyway and writes once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from prometheus_client import Counter
from sqlalchemy.orm import Session
from sqlalchemy.orm.util import identity_key

from chassis import telemetry
from services.integrations.domain import failures, pauses
from services.integrations.domain.breaker import Breaker
from services.integrations.models import Connection, Credential
from services.integrations.operations import announcements
from services.integrations.queries import lanes

log = telemetry.logger(__name__)

ALERTS = Counter("integrations_connection_alerts",
                 "Alerts of connections: the target is down (after so many seconds), or a person has to act.",
                 ["connection", "reason"])
_STAYS: tuple[str, ...] = ("auth_failed", "mapping_fault")
"""Health that only a person ends."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one call tells about its connection.

    Attributes:
        kind: of the failure; None for a success.
        answered: whether the target has answered, be it with a refusal.
        record: the record that the call was about, if it was to bring one.
    """

    connection_id: str
    kind: str | None = None
    message: str = ""
    answered: bool = True
    record: str | None = None
    throttle_s: float | None = None
    pause: pauses.Code | None = None


def observe(session: Session, seen: Sequence[Seen], now: dt.datetime) -> None:
    """Update each connection from the calls that were made over it."""
    by_connection: dict[str, list[Seen]] = {}
    for one in seen:
        by_connection.setdefault(one.connection_id, []).append(one)
    for connection_id in sorted(by_connection):
        _observe(session, connection_id, by_connection[connection_id], now)


def _observe(session: Session, connection_id: str, seen: Iterable[Seen], now: dt.datetime) -> None:
    connection = _locked(session, connection_id)
    before = (connection.desired_state, connection.health)
    breaker = connection.breaker
    for one in seen:
        breaker = _judged(breaker, one, now)
        if one.kind is None:
            _succeeded(connection, one, now)
        if one.throttle_s is not None:
            until = now + dt.timedelta(seconds=one.throttle_s)
            connection.throttled_until = max(connection.throttled_until or until, until)
        _count_refused(connection, one, now)
        if one.pause is not None:
            _pause_for_a_person(session, connection, one.pause, one.message)
    _settle_health(session, connection, breaker, now, before)


def _judged(breaker: Breaker, seen: Seen, now: dt.datetime) -> Breaker:
    """Return the breaker after one call. A refusal shows that the target is there; our own fault shows nothing."""
    if seen.kind in failures.UNWELL:
        return breaker.failed(now)
    return breaker.answered(now) if seen.kind is None or seen.answered else breaker


def _settle_health(session: Session, connection: Connection, breaker: Breaker, now: dt.datetime,
                   before: tuple[str, str]) -> None:
    """Keep what is known of the target, give the alert that is due, and announce what has changed."""
    after_s = breaker.alert_due(now)
    if after_s is not None:
        breaker = breaker.alerted(after_s)
    connection.breaker = breaker
    if connection.health not in _STAYS:
        throttled = connection.throttled_until is not None and connection.throttled_until > now
        connection.health = breaker.state if breaker.state != "closed" else "throttled" if throttled else "ok"
    if (connection.desired_state, connection.health) == before and after_s is None:
        return
    reason = connection.pause_reason or _told_of(breaker)
    said = {"connection": connection.name, "state": connection.desired_state, "health": connection.health,
            "reason": reason}
    if after_s is not None:
        ALERTS.labels(connection.name, f"down_{after_s:.0f}_s").inc()
        log.error("connection_down", **said, down_s=after_s)
    else:
        log.warning("connection_health_changed", **said)
    session.flush()
    announcements.health_changed(session, connection, reason=reason)


def _told_of(breaker: Breaker) -> str | None:
    if breaker.opened_at is None:
        return None
    since = f"down since {breaker.opened_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{since}; it is checked again and again, nothing is discarded" if breaker.state == "open" else (
        f"{since}; it answers again, and calls come back a few at a time")


def tend(session: Session, connection_id: str, now: dt.datetime) -> None:
    """Give the alert of a connection that is due, note that its pause is over, and close one that is half open and has
    had nothing more to do."""
    connection = _locked(session, connection_id)
    before = (connection.desired_state, connection.health)
    _end_pause(connection, now)
    _settle_health(session, connection, connection.breaker.rested(now, connection.last_success_at), now, before)


def begin_check(session: Session, connection_id: str, until: dt.datetime, now: dt.datetime) -> bool:
    """Take the check of a target that is down or was, until `until`; tell whether it is ours to make."""
    connection = _locked(session, connection_id)
    if connection.desired_state != "active" or not connection.breaker.check_due(now):
        return False
    connection.breaker = connection.breaker.checking(until)
    return True


def end_check(session: Session, seen: Seen, now: dt.datetime, *, reachable: bool) -> None:
    """Keep what the check of a target that was down found; a refused credential is for a person."""
    connection = _locked(session, seen.connection_id)
    before = (connection.desired_state, connection.health)
    if seen.pause is not None:
        _pause_for_a_person(session, connection, seen.pause, seen.message)
    _settle_health(session, connection, connection.breaker.checked(reachable=reachable, now=now), now, before)


def _locked(session: Session, connection_id: str) -> Connection:
    """Return a connection, locked. The engine has locked those of a turn already; a second reading would be wasted."""
    known = session.identity_map.get(identity_key(Connection, connection_id))
    if known is not None:
        return known
    return session.get_one(Connection, connection_id, with_for_update={"key_share": True})


def _succeeded(connection: Connection, seen: Seen, now: dt.datetime) -> None:
    connection.last_success_at = now
    if seen.record is not None:
        connection.refused_records = None
    _end_pause(connection, now)


def _end_pause(connection: Connection, now: dt.datetime) -> None:
    if connection.throttled_until is not None and connection.throttled_until <= now:
        connection.throttled_until = None


# --- for a person -------------------------------------------------------------------------------------------------


def _count_refused(connection: Connection, seen: Seen, now: dt.datetime) -> None:
    """Stop the line when one record after the other is refused: they would all end among the dead."""
    if seen.kind != failures.INVALID or seen.record is None:
        return
    known = [(name, when) for name, when in connection.refused_records or ()]
    connection.refused_records = pauses.with_refused(known, seen.record, now)
    if pauses.is_mapping_fault(connection.refused_records):
        _hold(connection, "mapping_fault", f"{len(connection.refused_records)} records in a row were refused, "
                                           f"the last with: {seen.message}")
        connection.health = "mapping_fault"


def doubts(session: Session, connection_ids: Collection[str]) -> list[Seen]:
    """Return what the unresolved doubts of these connections tell: a pause, where they are too many."""
    return [Seen(connection_id=id, kind=failures.UNRESOLVABLE, answered=False, pause="in_doubt",
                 message=f"{pauses.DOUBTS} deliveries or more are in doubt, and looking at the target did not tell")
            for id in sorted(connection_ids) if lanes.unresolved(session, id, pauses.DOUBTS) >= pauses.DOUBTS]


def _pause_for_a_person(session: Session, connection: Connection, code: pauses.Code, message: str) -> None:
    _hold(connection, code, message)
    if code == "auth":
        connection.health, connection.checked_version = "auth_failed", None  # what it passed, it passed before
        refused = sa.update(Credential).where(Credential.connection_id == connection.id).values(status="refused")
        session.execute(refused)


def _hold(connection: Connection, code: pauses.Code, message: str) -> None:
    if connection.desired_state != "active":
        return
    connection.desired_state, connection.pause_code = "paused", code
    connection.pause_reason = f"{code}: {message}"[:500]
    connection.paused_by = announcements.US.id
    ALERTS.labels(connection.name, code).inc()
    log.error("connection_paused", connection=connection.name, code=code, reason=connection.pause_reason)
