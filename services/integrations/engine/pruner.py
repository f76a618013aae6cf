"""The pruner: once an hour it forgets what was settled longer ago than deliveries are kept."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.database import Database, utcnow
from contracts.errors import Unavailable
from services.integrations.operations import inbound, matching, pruning, receipts, reconciliations

log = telemetry.logger(__name__)

FIRST_AFTER_S, EVERY_S = 60.0, 3600.0
BREATH_S = 0.05
"""Pause between two batches, so that pruning takes a share of the database and never all of it."""


class Pruner:
    """Walks the deliveries from the oldest on, a short transaction at a time."""

    def __init__(self, db: Database, retention_days: int, clock: Callable[[], dt.datetime] = utcnow) -> None:
        self._db, self._keep, self._clock = db, dt.timedelta(days=retention_days), clock
        self._stopped = threading.Event()

    def run(self) -> None:
        """Prune until `stop`."""
        wait_s = FIRST_AFTER_S
        while not self._stopped.wait(wait_s):
            try:
                pruned = self.prune()
                if pruned:
                    log.info("deliveries_pruned", count=pruned)
            except Unavailable as error:
                log.warning("pruning_waits", reason=error.message)
            except Exception as error:
                log.error("pruning_broken", error=type(error).__name__)
            wait_s = EVERY_S

    def prune(self) -> int:
        """Walk once from the oldest delivery to those that are kept, or until stopped; return how many went."""
        before, after, pruned = self._clock() - self._keep, "", 0
        self._repeat(lambda session: inbound.forget(session, self._clock()))
        self._repeat(lambda session: receipts.forget(session, self._clock()))
        self._repeat(matching.forget)
        self._repeat(reconciliations.forget)
        self._repeat(lambda session: pruning.forget_findings(session, before))
        while True:
            with self._db.write() as session:
                page = pruning.prune(session, after, before)
            pruned += page.pruned
            if page.after is None or self._stopped.wait(BREATH_S):
                return pruned
            after = page.after

    def _repeat(self, forget: Callable[[Session], bool]) -> None:
        """Forget a batch in a transaction of its own, until there is no more."""
        more = True
        while more and not self._stopped.wait(BREATH_S):
            with self._db.write() as session:
                more = forget(session)

    def stop(self) -> None:
        """End `run`, after the batch in hand."""
        self._stopped.set()
