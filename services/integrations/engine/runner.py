"""The runner: goes on with runs over whole entities, a page at a time, where the last page left them.

A page is one transaction: what it led to, what it found, and where the next begins.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterable, Sequence

from chassis import telemetry, tracing
from chassis.database import Database, utcnow
from chassis.failpoints import failpoint
from contracts.errors import Unavailable
from services.integrations.domain import failures
from services.integrations.engine.asking import CallFailed
from services.integrations.engine.leaseholders import Leaseholder
from services.integrations.engine.renewals import Renew
from services.integrations.engine.runs import KINDS, repeat
from services.integrations.engine.targets import Targets
from services.integrations.engine.turns import CannotGoOn, Turn
from services.integrations.operations import runs
from services.integrations.operations.outcomes import Failed
from services.integrations.operations.runs import LeaseLost, Taken
from services.integrations.queries.runs import any_repeated
from services.integrations.settings import IntegrationsSettings

log = telemetry.logger(__name__)

AT_ONCE = 2
"""Runs that this process goes on with at once."""


class Runner(Leaseholder[Taken]):
    """Goes on with every run that is due."""

    def __init__(self, db: Database, targets: Targets, settings: IntegrationsSettings, owner: str, renew: Renew,
                 send: Callable[[Iterable[str]], None], clock: Callable[[], dt.datetime] = utcnow,
                 chance: Callable[[], float] = random.random) -> None:
        super().__init__("run", AT_ONCE, owner, settings.lease_s, clock)
        self._db, self._targets, self._settings = db, targets, settings
        self._renew, self._send, self._chance = renew, send, chance

    def _take(self, room: int, now: dt.datetime) -> Sequence[Taken]:
        """Lease runs that are due, once those that are to be repeated now have been started."""
        with self._db.read() as session:
            repeated = any_repeated(session, now)
            if not repeated and not runs.any_due(session, now):
                return []
        if repeated:
            with self._db.write() as session:
                repeat(session, now)
        with self._db.write() as session:
            return runs.claim(session, room, self._lease(now), now)

    def _work(self, taken: Taken) -> None:
        """Work, in a trace of its own."""
        with tracing.root(f"run {taken.kind} {taken.entity}", "internal", hub__connection_id=taken.connection_id) as \
                span, telemetry.about(traceparent=span.traceparent, run_id=taken.id):
            self._go_on(taken)

    def _go_on(self, taken: Taken) -> None:
        """Go on page by page until the run is let go, on a worker's thread."""
        left: Taken | None = taken
        try:
            while left is not None:
                taken = left
                if self._stopping:
                    with self._db.write() as session:
                        runs.let_go(session, taken)
                    return
                left = self.page(taken)
                failpoint("runs.between_pages")
        except LeaseLost as error:
            log.warning("run_given_up", reason=str(error))
        except Exception as error:
            self._failed(taken, error)

    def page(self, taken: Taken) -> Taken | None:
        """Go on with one page; return the run if the next is to follow at once.

        Raises:
            LeaseLost: it is not ours any more; nothing of the page was recorded.
            Exception: what `Kind.advance` raises.
        """
        turn = Turn(run=taken, db=self._db, targets=self._targets, renew=self._renew, clock=self._clock,
                    deadline_s=self._settings.call_deadline_s, region=self._settings.default_region,
                    lease_s=self._settings.lease_s,
                    ends_at=self._clock() + dt.timedelta(seconds=self._settings.lease_s / 3))
        step = KINDS[taken.kind].advance(turn)
        now = self._clock()
        with self._db.write() as session:
            left = runs.record(session, taken, step, now, self._lease(now).until)
        if step.effect is not None:
            self._send([taken.connection_id])
        return left

    def _failed(self, taken: Taken, error: Exception) -> None:
        """Record why a page failed, unless the run is not ours any more."""
        try:
            with self._db.write() as session:
                if isinstance(error, CannotGoOn):
                    runs.give_up(session, taken, str(error), self._clock())
                elif isinstance(error, CallFailed):
                    log.warning("run_page_failed", kind=error.failed.kind, reason=error.failed.message)
                    runs.fail(session, taken, error.failed, self._clock(), self._chance)
                elif isinstance(error, Unavailable):
                    # It answers again, so it was perhaps the page's own statement that took too long.
                    log.warning("run_page_failed", kind=failures.TRANSIENT, reason=error.message)
                    away = Failed(kind=failures.TRANSIENT, message=error.message)
                    runs.fail(session, taken, away, self._clock(), self._chance, of_target=False)
                else:
                    log.error("run_broken", error=type(error).__name__, **telemetry.where(error))
                    broken = Failed(kind=failures.ADAPTER_ERROR, message=type(error).__name__)
                    runs.fail(session, taken, broken, self._clock(), self._chance, of_target=False)
        except (LeaseLost, Unavailable) as lost:
            log.warning("run_given_up", reason=str(lost))
