"""The sweeper: every few seconds it finds what nobody else will come back for, in every state that is not final."""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Callable

from chassis import owner, telemetry
from chassis.database import Database, utcnow
from contracts.errors import Unavailable
from services.integrations.operations import sweeps
from services.integrations.queries import due

log = telemetry.logger(__name__)


class Sweeper:
    """Ends leases and releases what is blocked; due rows are the dispatcher's own look."""

    def __init__(self, db: Database, every_s: float, wake: Callable[[set[str]], None],
                 clock: Callable[[], dt.datetime] = utcnow, chance: Callable[[], float] = random.random) -> None:
        self._db, self._every_s, self._wake, self._clock, self._chance = db, every_s, wake, clock, chance
        self._stopped = threading.Event()

    def run(self) -> None:
        """Sweep until `stop`."""
        while not self._stopped.is_set():
            try:
                self.sweep()
            except Unavailable as error:
                log.warning("sweep_waits", reason=error.message)
            except Exception as error:
                log.error("sweep_broken", error=type(error).__name__)
            self._stopped.wait(self._every_s)

    def sweep(self) -> None:
        """Sweep everything once, a batch per transaction."""
        while self._end_leases() == sweeps.BATCH:
            pass
        while self._release_blocked() == sweeps.BATCH:
            pass

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    def _end_leases(self) -> int:
        with self._db.read() as session:
            owners = set(session.execute(due.lease_owners()).scalars())
        gone = owner.gone(owners)
        with self._db.write() as session:
            ended = sweeps.end_leases(session, gone, self._clock(), self._chance)
            if gone:
                sweeps.end_reads(session, gone)
        if ended:
            log.warning("leases_ended", count=ended, gone=sorted(gone))
        return ended

    def _release_blocked(self) -> int:
        with self._db.write() as session:
            seen, woken = sweeps.release_blocked(session, self._clock())
        self._wake(woken)
        return seen
