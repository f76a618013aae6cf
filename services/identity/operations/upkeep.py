"""What is written later than it happens: when a credential was last used; and the deleting of what is past keeping."""

from __future__ import annotations

import datetime as dt
import threading

from sqlalchemy import delete, update

from chassis import telemetry
from chassis.database import Database, utcnow
from contracts.errors import Unavailable
from services.identity.models import ApiKey, LoginEvent, Session
from services.identity.operations import attempts
from services.identity.settings import IdentitySettings

log = telemetry.logger(__name__)

WRITE_EVERY_S = 60.0
"""A credential's last use is written at most this often; a process that is killed forgets no more than this."""


class Sightings:
    """Which credentials were used since the last write. Introspection only reads; this is written behind its back."""

    def __init__(self) -> None:
        self._sessions: dict[str, dt.datetime] = {}
        self._keys: dict[str, dt.datetime] = {}

    def note(self, kind: str, id: str, at: dt.datetime) -> None:
        """Remember that a session (`user`) or an API key (`api_key`) was used."""
        (self._keys if kind == "api_key" else self._sessions)[id] = at

    def write(self, db: Database, idle_h: float) -> int:
        """Write what was remembered; sessions live on from their last use.

        Returns:
            How many credentials.

        Raises:
            Unavailable: the database is away; nothing is forgotten.
        """
        sessions, keys = dict(self._sessions), dict(self._keys)
        if not sessions and not keys:
            return 0
        with db.write() as session:
            for id, at in sorted(sessions.items()):
                until = at + dt.timedelta(hours=idle_h)
                used = update(Session).where(Session.id == id, Session.last_seen_at < at)
                session.execute(used.values(last_seen_at=at, idle_expires_at=until))
            for id, at in sorted(keys.items()):
                session.execute(update(ApiKey).where(ApiKey.id == id).values(last_used_at=at))
        for seen, written in ((self._sessions, sessions), (self._keys, keys)):
            for id, at in written.items():
                if seen.get(id) == at:
                    del seen[id]
        return len(sessions) + len(keys)


def prune(db: Database, retention_days: int, now: dt.datetime) -> None:
    """Delete attempts to sign in and ended sessions that are past keeping, and counters that have rested."""
    before = now - dt.timedelta(days=retention_days)
    with db.write() as session:
        session.execute(delete(LoginEvent).where(LoginEvent.at < before))
        session.execute(delete(Session).where(Session.expires_at < before))
        attempts.forget_rested(session, now)


class Upkeep:
    """Background work of the identity service."""

    def __init__(self, db: Database, sightings: Sightings, settings: IdentitySettings) -> None:
        self._db = db
        self._sightings = sightings
        self._settings = settings
        self._stopped = threading.Event()

    def run(self) -> None:
        """Write sightings every minute, prune every hour, until stopped; then write once more."""
        pruned_at: dt.datetime | None = None
        while not self._stopped.wait(WRITE_EVERY_S):
            now = utcnow()
            due = pruned_at is None or now - pruned_at > dt.timedelta(hours=1)
            if self._once(now, prune_too=due) and due:
                pruned_at = now
        self._once(utcnow(), prune_too=False)

    def stop(self) -> None:
        """End `run` at once."""
        self._stopped.set()

    def _once(self, now: dt.datetime, *, prune_too: bool) -> bool:
        try:
            self._sightings.write(self._db, self._settings.session_idle_h)
            if prune_too:
                prune(self._db, self._settings.login_event_retention_days, now)
        except Unavailable as error:
            log.warning("upkeep_postponed", reason=error.message)
            return False
        return True
