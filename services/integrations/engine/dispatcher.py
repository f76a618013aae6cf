"""The dispatcher: one turn settles what has come back and claims what is due, in one transaction; then it calls.

A turn takes whatever has gathered since the last one, so that a crowd shares a transaction and a lone order waits for
nobody. While others are on the wire, a settled call waits `LINGER_S` for company.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.crypto import Keyring
from chassis.database import Database, utcnow
from chassis.failpoints import failpoint
from contracts.errors import Unavailable
from services.integrations.engine import calls
from services.integrations.engine.recovery import Recovery
from services.integrations.engine.renewals import Renewals
from services.integrations.engine.targets import Target, Targets
from services.integrations.engine.watching import watched
from services.integrations.engine.workers import Workers
from services.integrations.models import Connection
from services.integrations.operations import claims, locks, probes, settlements
from services.integrations.operations.claims import Job, Lease
from services.integrations.operations.settlements import Outcome
from services.integrations.queries import lanes
from services.integrations.settings import IntegrationsSettings

log = telemetry.logger(__name__)

LOOK_EVERY_S = 1.0
"""How often due rows are looked for without being told: retries that have become due, work of another process."""
LINGER_S = 0.003
OVERDUE_S = 5.0
"""A call is given up so long after its deadline; the adapter's own session should have ended it before."""


@dataclass
class _Flight:
    """A call on its way, by the monotonic clock, which goes on while a process is stopped.

    Attributes:
        claimed: when its lease was taken.
        valid_until: when that ends.
        began: when a worker took it up; None before.
    """

    job: Job
    target: Target
    started_at: dt.datetime
    claimed: float
    valid_until: float
    began: float | None = None


class Dispatcher:
    """Brings due deliveries to their targets."""

    def __init__(self, db: Database, keyring: Keyring, targets: Targets, settings: IntegrationsSettings, owner: str,
                 clock: Callable[[], dt.datetime] = utcnow, chance: Callable[[], float] = random.random,
                 elapsed: Callable[[], float] = time.monotonic, workers: Workers | None = None) -> None:
        self._db, self._keyring, self._targets, self._settings = db, keyring, targets, settings
        self._owner, self._clock, self._chance, self._elapsed = owner, clock, chance, elapsed
        self._fresh = Renewals(db, keyring, targets, clock).renewed
        self._recovery = Recovery(db, targets, self._fresh, settings.call_deadline_s, clock, self.wake)
        self._throttled: dict[str, float] = {}
        self._workers = workers or Workers("call", settings.max_calls)
        self._changed = threading.Condition()
        self._hot: set[str] = set()
        self._done: list[Outcome] = []
        self._flying: dict[tuple[str, int], _Flight] = {}
        self._doubts: set[str] = set()
        self._background: set[str] = set()
        self._stopping = False
        self._look_at = self._renewed = 0.0

    def wake(self, connection_ids: Iterable[str]) -> None:
        """Say that these connections have something to send."""
        with self._changed:
            self._hot.update(connection_ids)
            self._changed.notify()

    def run(self) -> None:
        """Work until `stop`, and until the last call is settled."""
        while not self._stopping or self._flying:
            self._wait()
            try:
                self.round()
            except Unavailable as error:
                log.warning("engine_waits", reason=error.message)
                time.sleep(0.5)
        self._workers.stop()

    def stop(self) -> None:
        """Claim nothing more; `run` ends when the calls in hand are settled."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def round(self) -> None:
        """Look for what is due, give up calls that are overdue, take a turn, renew leases.

        Raises:
            Unavailable: the database is away.
        """
        self._look()
        self._give_up_overdue()
        self.turn()
        self._renew()

    # --- a turn ---------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Settle and claim, then call.

        Raises:
            Unavailable: the database is away; what has come back is kept for the next turn.
        """
        outcomes, hot, doubts = self._gathered()
        if not (outcomes or hot or doubts):
            return
        try:
            jobs = self._transact(outcomes, hot, doubts)
        except Unavailable:
            self._keep(outcomes, hot)
            raise
        except Exception as error:
            log.error("turn_broken", error=type(error).__name__, outcomes=len(outcomes))
            self._settle_singly(outcomes)
            return
        self._forget(outcomes)
        self._call(jobs)

    def _transact(self, outcomes: list[Outcome], hot: set[str], doubts: set[str]) -> list[tuple[Job, Target]]:
        if outcomes:
            failpoint("engine.before_settle")
        now = self._clock()
        lease = Lease(owner=self._owner, until=now + dt.timedelta(seconds=self._settings.lease_s))
        with self._db.write() as session:
            known = locks.lock(session, hot | doubts | {outcome.job.connection_id for outcome in outcomes})
            hot |= settlements.settle(session, outcomes, now, self._chance, self._settings.doubt_proof_s)
            free = 0 if self._stopping else self._settings.max_calls - len(self._flying) + len(outcomes)
            if free <= 0:
                return []
            jobs: list[Job] = []
            wanted = []
            for connection, room in claims.room(session, [known[id] for id in hot | doubts if id in known], now):
                target = self._target(session, connection)
                room = min(room, free)
                if target is not None and room > 0 and connection.id in doubts:
                    looks = probes.claim(session, connection.id, room, lease, now)
                    jobs += looks
                    room, free = room - len(looks), free - len(looks)
                if target is not None and room > 0 and connection.id in hot:
                    wanted.append((connection.id, room))
                    free -= room
            fresh, again = claims.claim(session, self._keyring, wanted, lease, now, self._background)
            jobs += fresh
        self._note_throttled(known.values(), now)
        with self._changed:
            self._hot |= again
        return [(job, self._targets.ready(job.connection_id)) for job in jobs]

    def _target(self, session: Session, connection: Connection) -> Target | None:
        try:
            return self._targets.usable(session, connection)
        except Exception as error:
            # A missing adapter or a foreign key stops this connection alone; its deliveries wait.
            log.error("connection_unusable", connection=connection.name, error=type(error).__name__,
                      reason=str(error)[:300])
            return None

    def _call(self, jobs: list[tuple[Job, Target]]) -> None:
        now, claimed = self._clock(), self._elapsed()
        for job, target in jobs:
            flight = _Flight(job, target, now, claimed, claimed + self._settings.lease_s)
            self._flying[job.delivery_id, job.fence] = flight
            self._workers.do(partial(self._fly, flight))

    def _fly(self, flight: _Flight) -> None:
        """Make one call, on a worker's thread."""
        flight.started_at, flight.began = self._clock(), self._elapsed()
        if flight.began + self._settings.call_deadline_s > flight.valid_until:
            # This process was stopped between claim and call: before the call is over the lease may be another's, who
            # finds nothing there yet and sends it again. Nothing has left.
            log.warning("call_not_made", delivery_id=flight.job.delivery_id, reason="the lease ends too soon")
            self._flying.pop((flight.job.delivery_id, flight.job.fence), None)
            return
        target = flight.target
        outcome = watched(lambda job: calls.perform(target, job, self._clock, self._settings.call_deadline_s,
                                                    self._fresh),
                          flight.job, target.name, target.adapter.spec.name)
        with self._changed:
            if (flight.job.delivery_id, flight.job.fence) in self._flying:
                self._done.append(outcome)
                self._changed.notify()

    def _settle_singly(self, outcomes: list[Outcome]) -> None:
        """Settle each outcome by itself, so that one that cannot be settled stands in nobody's way.

        What fails here too is left to its lease: the sweeper puts it in doubt, and a look at the target tells.
        """
        for outcome in outcomes:
            try:
                with self._db.write() as session:
                    _known = locks.lock(session, [outcome.job.connection_id])
                    woken = settlements.settle(session, [outcome], self._clock(), self._chance,
                                               self._settings.doubt_proof_s)
                self.wake(woken)
            except Unavailable:
                self._keep([outcome], set())
                continue
            except Exception as error:
                log.error("settling_broken", delivery_id=outcome.job.delivery_id, error=type(error).__name__)
            self._forget([outcome])

    # --- waiting --------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        with self._changed:
            if not (self._done or self._hot or self._stopping):
                self._changed.wait(max(0.0, min(self._look_at - self._elapsed(), LOOK_EVERY_S)))
            company = bool(self._done) and len(self._flying) > len(self._done)
        if company:
            time.sleep(LINGER_S)
        elif self._stopping:
            time.sleep(0.01)

    def _gathered(self) -> tuple[list[Outcome], set[str], set[str]]:
        with self._changed:
            gathered = self._done, self._hot, self._doubts
            self._done, self._hot, self._doubts = [], set(), set()
        return gathered

    def _keep(self, outcomes: list[Outcome], hot: set[str]) -> None:
        with self._changed:
            self._done[:0] = outcomes
            self._hot |= hot

    def _forget(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self._flying.pop((outcome.job.delivery_id, outcome.job.fence), None)

    def _look(self) -> None:
        if self._elapsed() < self._look_at or self._stopping:
            return
        now = self._clock()
        with self._db.read() as session:
            due, doubts = lanes.due(session, now), lanes.doubtful(session, now)
        self._throttled = {id: end for id, end in self._throttled.items() if end > self._elapsed()}
        self._look_at = min([self._elapsed() + LOOK_EVERY_S, *self._throttled.values()])
        self._background = due.background
        with self._changed:
            self._hot |= due.to_send
            self._doubts |= doubts
        for connection_id in due.to_check:
            self._workers.do(partial(self._recovery.check, connection_id))
        for connection_id in due.to_tend:
            self._recovery.tend(connection_id)

    def _note_throttled(self, connections: Iterable[Connection], now: dt.datetime) -> None:
        """Look again when a pause that a target asked for ends, not up to a second later."""
        for connection in connections:
            if connection.throttled_until is not None and connection.throttled_until > now:
                end = self._elapsed() + (connection.throttled_until - now).total_seconds()
                self._throttled[connection.id] = end
                self._look_at = min(self._look_at, end)

    def _give_up_overdue(self) -> None:
        limit = self._settings.call_deadline_s + OVERDUE_S
        for flight in list(self._flying.values()):
            settled = any(o.job is flight.job for o in self._done)
            if flight.began is not None and self._elapsed() - flight.began > limit and not settled:
                log.error("call_overdue", delivery_id=flight.job.delivery_id, connection_id=flight.job.connection_id)
                overdue = calls.unanswered(flight.target, flight.job, flight.started_at, self._clock(), limit)
                self._keep([overdue], set())

    def _renew(self) -> None:
        third = self._settings.lease_s / 3
        if self._elapsed() - self._renewed < third:
            return
        self._renewed = began = self._elapsed()
        flights = [flight for flight in self._flying.values() if began - flight.claimed > third / 2]
        if not flights:
            return
        until = self._clock() + dt.timedelta(seconds=self._settings.lease_s)
        with self._db.write() as session:
            leases = [(flight.job.delivery_id, flight.job.fence) for flight in flights]
            ours = claims.renew(session, self._owner, leases, until)
        for flight in flights:
            if (flight.job.delivery_id, flight.job.fence) in ours:
                flight.valid_until = began + self._settings.lease_s
