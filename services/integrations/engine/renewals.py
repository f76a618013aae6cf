"""A credential that the target refuses is refreshed once, by one worker, while the others wait for it."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

from chassis import telemetry
from chassis.crypto import Keyring
from chassis.database import Database, new_id, utcnow
from hub_adapter.port import Capability, Refreshing
from services.integrations.engine.targets import Target, Targets
from services.integrations.operations import credentials

log = telemetry.logger(__name__)

Renew = Callable[[Target, float], Target | None]
"""(refused target, seconds left) → the target with a fresh credential, or None: a person has to put one."""
LOOK_EVERY_S = 0.05
REFRESH_MOST_S = 30.0
"""After so long a refresh that did not come back is another worker's to make."""


class Renewals:
    """Refreshes credentials, one worker at a time over all processes (`credential.refresh_owner`)."""

    def __init__(self, db: Database, keyring: Keyring, targets: Targets,
                 clock: Callable[[], dt.datetime] = utcnow) -> None:
        self._db, self._keyring, self._targets, self._clock = db, keyring, targets, clock

    def renewed(self, refused: Target, within_s: float) -> Target | None:
        """Return the target with a credential that is not the refused one, or None if none can be had.

        Raises:
            Exception: the refresh failed for now; the adapter's `classify` tells how.
        """
        adapter = refused.adapter
        if Capability.REFRESH not in adapter.spec.capabilities or not isinstance(adapter, Refreshing):
            return None
        until, me = time.monotonic() + within_s, new_id()
        while time.monotonic() < until:
            with self._db.read() as session:
                state = credentials.state_of(session, refused.connection_id)
            if state.setup_version != refused.setup_version:
                with self._db.read() as session:
                    return self._targets.load(session, refused.connection_id)
            if state.refused:
                return None
            now = self._clock()
            if state.refresh_until is None or state.refresh_until <= now:
                with self._db.write() as session:
                    ours = credentials.begin_refresh(session, refused.connection_id, refused.setup_version, me,
                                                     now + dt.timedelta(seconds=REFRESH_MOST_S), now)
                if ours:
                    return self._refresh(refused, adapter, me, until - time.monotonic())
            time.sleep(LOOK_EVERY_S)
        return None

    def _refresh(self, refused: Target, adapter: Refreshing, me: str, within_s: float) -> Target | None:
        try:
            with refused.calling(self._clock, max(within_s, 0.1)) as ctx:
                fresh = adapter.refresh(ctx)
        except Exception as error:
            hopeless = str(refused.adapter.classify(error).error_class) in ("auth", "invalid")
            with self._db.write() as session:
                credentials.end_refresh(session, refused.connection_id, me, refused=hopeless)
            log.warning("credential_not_refreshed", connection_id=refused.connection_id, error=type(error).__name__,
                        refused=hopeless)
            if hopeless:
                return None
            raise
        with self._db.write() as session:
            kept = credentials.refreshed(session, self._keyring, refused.connection_id, me, fresh, self._clock())
        log.info("credential_refreshed", connection_id=refused.connection_id, kept=kept)
        with self._db.read() as session:
            return self._targets.load(session, refused.connection_id)
