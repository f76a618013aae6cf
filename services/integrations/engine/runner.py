"""The runner: goes on with runs over whole entities, a page at a time, where the last page left them.

A page is one transaction: what it led to, what it found, and where the next begins. Several processes may run one each;
a run whose process ended goes on from its last page as soon as its lease is over.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Callable, Iterable
from functools import partial

from chassis import telemetry, tracing
from chassis.database import Database, utcnow
from chassis.failpoints import failpoint
from contracts.errors import Unavailable
from services.integrations.domain import failures
from services.integrations.engine.renewals import Renew
from services.integrations.engine.runs import KINDS, repeat
from services.integrations.engine.targets import Targets
from services.integrations.engine.turns import CallFailed, CannotGoOn, Turn
from services.integrations.engine.workers import Workers
from services.integrations.operations import runs
from services.integrations.operations.claims import Lease
from services.integrations.operations.runs import LeaseLost, Taken
from services.integrations.operations.settlements import Failed
from services.integrations.queries.runs import any_repeated
from services.integrations.settings import IntegrationsSettings

log = telemetry.logger(__name__)

LOOK_EVERY_S = 1.0
AT_ONCE = 2
"""Runs that this process goes on with at once."""


class Runner:
    """Goes on with every run that is due."""

    def __init__(self, db: Database, targets: Targets, settings: IntegrationsSettings, owner: str, renew: Renew,
                 send: Callable[[Iterable[str]], None], clock: Callable[[], dt.datetime] = utcnow,
                 chance: Callable[[], float] = random.random) -> None:
        self._db, self._targets, self._settings, self._owner = db, targets, settings, owner
        self._renew, self._send, self._clock, self._chance = renew, send, clock, chance
        self._workers = Workers("run", AT_ONCE)
        self._woken = threading.Event()
        self._stopping = False
        self._busy = 0

    def wake(self) -> None:
        """Say that a run has become due."""
        self._woken.set()

    def run(self) -> None:
        """Work until `stop`."""
        while not self._stopping:
            try:
                self.start_due()
            except Unavailable as error:
                log.warning("runs_wait", reason=error.message)
            except Exception as error:
                log.error("runs_broken", error=type(error).__name__)
            self._woken.wait(LOOK_EVERY_S)
            self._woken.clear()
        self._workers.stop()

    def stop(self) -> None:
        """End `run`; a page in hand is finished, and the run let go."""
        self._stopping = True
        self._woken.set()

    def start_due(self) -> None:
        """Take every run that is due, as far as there is room, and those that are to be repeated now."""
        if self._busy >= AT_ONCE:
            return
        now = self._clock()
        with self._db.read() as session:
            repeated = any_repeated(session, now)
            if not repeated and not runs.any_due(session, now):
                return
        if repeated:
            with self._db.write() as session:
                repeat(session, now)
        with self._db.write() as session:
            taken = runs.claim(session, AT_ONCE - self._busy, Lease(owner=self._owner, until=self._until(now)), now)
        for one in taken:
            self._busy += 1
            self._workers.do(partial(self._watched, one))

    def _until(self, now: dt.datetime) -> dt.datetime:
        return now + dt.timedelta(seconds=self._settings.lease_s)

    def _watched(self, taken: Taken) -> None:
        """Work, in a trace of its own."""
        with tracing.root(f"run {taken.kind} {taken.entity}", "internal", hub__connection_id=taken.connection_id) as \
                span, telemetry.about(traceparent=span.traceparent, run_id=taken.id):
            self._work(taken)

    def _work(self, taken: Taken) -> None:
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
        finally:
            self._busy -= 1

    def page(self, taken: Taken) -> Taken | None:
        """Go on with one page; return the run if the next is to follow at once.

        Raises:
            LeaseLost: it is not ours any more; nothing of the page was recorded.
            Exception: what `Kind.advance` raises.
        """
        turn = Turn(run=taken, db=self._db, targets=self._targets, renew=self._renew, clock=self._clock,
                    deadline_s=self._settings.call_deadline_s, region=self._settings.default_region,
                    ends_at=self._clock() + dt.timedelta(seconds=self._settings.lease_s / 3))
        step = KINDS[taken.kind].advance(turn)
        now = self._clock()
        with self._db.write() as session:
            left = runs.record(session, taken, step, now, self._until(now))
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
