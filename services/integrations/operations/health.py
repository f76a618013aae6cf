"""What calls tell about a connection: that it works, that it asks for a pause, that its credential is refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.orm.util import identity_key

from chassis import telemetry
from services.integrations.domain import failures
from services.integrations.models import Connection, Credential
from services.integrations.operations import announcements

log = telemetry.logger(__name__)
_UNWELL = (failures.TRANSIENT, failures.AMBIGUOUS)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one call tells about its connection; `kind` is None for a success."""

    connection_id: str
    kind: str | None = None
    message: str = ""
    throttle_s: float | None = None
    pause: str | None = None


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
    for one in seen:
        if one.kind is None:
            _succeeded(connection, now)
        elif one.kind in _UNWELL:
            connection.consecutive_failures += 1
            connection.first_failure_at = connection.first_failure_at or now
        if one.throttle_s is not None:
            until = now + dt.timedelta(seconds=one.throttle_s)
            connection.throttled_until = max(connection.throttled_until or until, until)
            connection.health = "throttled" if connection.health == "ok" else connection.health
        if one.pause is not None:
            _pause_for_a_person(session, connection, one)
    if (connection.desired_state, connection.health) != before:
        log.warning("connection_health_changed", connection=connection.name, state=connection.desired_state,
                    health=connection.health, reason=connection.pause_reason)
        session.flush()
        announcements.health_changed(session, connection)


def _locked(session: Session, connection_id: str) -> Connection:
    """Return a connection, locked. The engine has locked those of a turn already; a second reading would be wasted."""
    known = session.identity_map.get(identity_key(Connection, connection_id))
    if known is not None:
        return known
    return session.get_one(Connection, connection_id, with_for_update={"key_share": True})


def _succeeded(connection: Connection, now: dt.datetime) -> None:
    connection.last_success_at = now
    connection.consecutive_failures = 0
    connection.first_failure_at = None
    if connection.health == "throttled" and (connection.throttled_until is None or connection.throttled_until <= now):
        connection.health, connection.throttled_until = "ok", None


def _pause_for_a_person(session: Session, connection: Connection, seen: Seen) -> None:
    connection.health = "auth_failed"
    if connection.desired_state == "active":
        connection.desired_state = "paused"
        connection.pause_reason = f"{seen.pause}: {seen.message}"[:500]
        connection.paused_by = announcements.US.id
    session.execute(sa.update(Credential).where(Credential.connection_id == connection.id).values(status="refused"))
