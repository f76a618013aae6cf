"""The dispatcher: one turn settles what has come back and claims what is due, in one transaction; then it calls.

A turn takes whatever has gathered since the last one, so that a crowd shares a transaction and a lone order waits for
nobody. While others are on the wire, a settled call waits `LINGER_S` for company; where slots are passed on, nobody is
kept waiting by that, and it waits `ROUND_S` or until nothing is ahead any more, or of another that is woken.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.crypto import Keyring
from chassis.database import Database, utcnow
from chassis.failpoints import failpoint
from contracts.errors import Unavailable
from services.integrations.engine import calls
from services.integrations.engine.flights import Back, Flight, Flights
from services.integrations.engine.recovery import Recovery
from services.integrations.engine.renewals import Renewals
from services.integrations.engine.targets import Target, Targets
from services.integrations.engine.watching import watched
from services.integrations.engine.workers import Workers
from services.integrations.models import Connection
from services.integrations.operations import claims, locks, probes, settlements, slots, unmade
from services.integrations.operations.claims import Lease
from services.integrations.operations.jobs import Job
from services.integrations.queries import rounds
from services.integrations.settings import IntegrationsSettings

log = telemetry.logger(__name__)

LOOK_EVERY_S = 1.0
"""How often due rows are looked for without being told: retries that have become due, work of another process."""
LINGER_S, ROUND_S = 0.003, 0.06
EACH_S = 0.001
"""What this process needs for a call and all around it, roughly."""
WAY_S = 1.0
"""Most time that a connection makes way for whoever is about to hold it."""
OVERDUE_S = 5.0
"""A call is given up so long after its deadline; the adapter's own session should have ended it before."""


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
        self._flights = Flights(self._changed, settings.call_deadline_s)
        self._doubts: set[str] = set()
        self._background: set[str] = set()
        self._stopping = False
        self._look_at = self._renewed = 0.0

    def wake(self, connection_ids: Iterable[str]) -> None:
        """Say that these connections have something to send."""
        with self._changed:
            self._hot.update(connection_ids)
            self._changed.notify()

    def make_way(self, connection_id: str) -> None:
        """Claim nothing of a connection and pass no slot on, while somebody waits for its row to hold it.

        On PostgreSQL a turn of this process has the row until it ends, and it ends the later, the more calls go on
        meanwhile. It is for `WAY_S` at most, or until `go_on`.
        """
        self._flights.make_way(connection_id, self._elapsed() + WAY_S)

    def go_on(self, connection_id: str) -> None:
        """Go on with a connection that made way."""
        self._flights.go_on(connection_id)
        self.wake([connection_id])

    def run(self) -> None:
        """Work until `stop`, and until the last call is settled."""
        while not self._stopping or self._flights:
            self._wait()
            try:
                self.round()
            except Unavailable as error:
                log.warning("engine_waits", reason=error.message)
                time.sleep(0.5)
            except Exception as error:
                # Whatever it is, the next round may not meet it; without this thread nothing would be settled any more.
                log.error("round_broken", error=type(error).__name__)
                time.sleep(0.5)
        self._workers.stop()

    def stop(self) -> None:
        """Claim nothing more; `run` ends when the calls in hand are settled."""
        with self._changed:
            self._stopping = True
            self._flights.close()
            self._changed.notify()

    def round(self) -> None:
        """Look for what is due, give up what takes too long, take a turn, renew leases.

        Raises:
            Unavailable: the database is away.
        """
        self._look()
        self._give_up_overdue()
        self._flights.give_back_old(self._elapsed())
        self.turn()
        self._renew()

    # --- a turn ---------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Settle and claim, then call.

        Raises:
            Unavailable: the database is away; what has come back is kept for the next turn.
        """
        back, (hot, doubts) = self._flights.gathered(), self._wanted()
        if not (back.over or hot or doubts):
            return
        claimed, claiming = self._elapsed(), list[Job]()
        try:
            on, ahead = self._transact(back, hot, doubts, claiming)
        except Unavailable:
            self._flights.unsure(claiming)
            self._flights.keep(back)
            self.wake(hot)
            raise
        except Exception as error:
            log.error("turn_broken", error=type(error).__name__, outcomes=len(back.outcomes))
            self._flights.unsure(claiming)
            self._settle_singly(back)
            return
        self._flights.settled(back)
        self._call(on, ahead, claimed)

    def _transact(self, back: Back, hot: set[str], doubts: set[str],
                  claiming: list[Job]) -> tuple[list[Job], list[Job]]:
        """Return what is to be called now, and what was claimed ahead; `claiming` is both, before the commit."""
        if back.outcomes:
            failpoint("engine.before_settle")
        now = self._clock()
        lease = Lease(owner=self._owner, until=now + dt.timedelta(seconds=self._settings.lease_s))
        quickest_s = min((outcome.took_s for outcome in back.outcomes), default=0.0)
        with self._db.write(yielding=self._far(quickest_s)) as session:
            known = locks.lock(session, hot | doubts | {job.connection_id for job in back.over})
            hot |= self._write_down(session, back, now)
            # In one order, so that the same turn is the same turn again: schedules are replayed by their seed.
            open_ = slots.room(session, [known[id] for id in sorted(hot | doubts) if id in known], now)
            looks, wanted = self._shared(session, open_, back, hot, doubts, lease, now)
            fresh, again = claims.claim(session, self._keyring, [(id, on + more) for id, on, more in wanted], lease,
                                        now, self._background)
            on, ahead = _parted(fresh, {id: on for id, on, _more in wanted})
            slots.place(session, on=back.passed, ahead=ahead)
            claiming += looks + fresh
        self._flights.give_back(id for id, one in known.items() if not slots.may_run_ahead(one, now))
        self._note_throttled(known.values(), now)
        with self._changed:
            self._hot |= again
        return looks + on, ahead

    def _shared(self, session: Session, open_: Iterable[tuple[Connection, int]], back: Back, hot: set[str],
                doubts: set[str], lease: Lease, now: dt.datetime) -> tuple[list[Job], list[tuple[str, int, int]]]:
        """Return the look-ups that were taken, and how many deliveries each connection may have, on slots and ahead."""
        held, passed = self._flights.on_slots(), Counter(job.connection_id for job in back.passed)
        free = 0 if self._stopping else self._settings.max_calls - held.total()
        looks: list[Job] = []
        wanted = []
        for connection, room in open_:
            id, room = connection.id, max(0, min(room - passed[connection.id], free))
            target = self._target(session, connection) if free > 0 else None
            if target is None or self._flights.makes_way(id, self._elapsed()):
                continue
            turns = target.pace.turns()
            room = min(room, turns)
            waits = id in doubts and not room
            if waits:
                self._doubts.add(id)
            elif id in doubts:
                taken = probes.claim(session, id, room, lease, now)
                looks += taken
                room, free = room - len(taken), free - len(taken)
            free -= room if id in hot else 0
            spare = free > 0 and not waits and target.effectively_once and slots.may_run_ahead(connection, now)
            more = min(self._flights.may_wait(id, held[id] + room), turns - room) if spare else 0
            if id in hot and room + more:
                wanted.append((id, room, more))
        return looks, wanted

    def _target(self, session: Session, connection: Connection) -> Target | None:
        try:
            return self._targets.usable(session, connection)
        except Exception as error:
            # A missing adapter or a foreign key stops this connection alone; its deliveries wait.
            log.error("connection_unusable", connection=connection.name, error=type(error).__name__,
                      reason=str(error)[:300])
            return None

    def _call(self, on: Sequence[Job], ahead: Sequence[Job], claimed: float) -> None:
        now, until = self._clock(), claimed + self._settings.lease_s
        called, waiting = ([Flight(job, self._targets.ready(job.connection_id), now, claimed, until, until)
                            for job in jobs] for jobs in (on, ahead))
        for flight in self._flights.begin(called, waiting, self._elapsed()):
            self._workers.do(partial(self._fly, flight))

    def _fly(self, flight: Flight) -> None:
        """Make one call after the other on one slot, on a worker's thread."""
        began, following = self._elapsed(), self._flown(flight)
        while following is not None:
            failpoint("engine.slot_passed")
            if not self._far(self._elapsed() - began):
                self._workers.stand_aside()
            began, following = self._elapsed(), self._flown(following)

    def _far(self, took_s: float) -> bool:
        """Tell whether calls that take so long wait for their targets rather than for this process.

        Of far ones those that come back pass on their slots while a turn writes; where all wait for this process that
        would only draw out the turn. There everything else goes between two calls: it would wait for all of them.
        """
        return took_s >= self._workers.busy * EACH_S

    def _flown(self, flight: Flight) -> Flight | None:
        """Make one call; return whose turn it is then."""
        flight.started_at, flight.began = self._clock(), self._elapsed()
        if flight.began + self._settings.call_deadline_s > flight.valid_until:
            # This process was stopped between claim and call: before the call is over the lease may be another's, who
            # finds nothing there yet and sends it again. Nothing has left.
            log.warning("call_not_made", delivery_id=flight.job.delivery_id, reason="the lease ends too soon")
            self._flights.unmade(flight)
            return None
        target = flight.target
        outcome = watched(lambda job: calls.perform(target, job, self._clock, self._settings.call_deadline_s,
                                                    self._fresh),
                          flight.job, target.name, target.adapter.spec.name)
        return self._flights.back(flight, outcome, self._elapsed())

    def _settle_singly(self, back: Back) -> None:
        """Settle each job by itself, so that one that cannot be settled stands in nobody's way.

        What fails here too is left to its lease: the sweeper puts it in doubt, and a look at the target tells. First it
        is written down who has their slots, so that nobody takes those for free.

        Raises:
            Unavailable: the database is away; all is kept for the next turn.
        """
        parts = [Back(passed=back.passed), *(Back([outcome]) for outcome in back.outcomes),
                 *(Back(unmade=[job]) for job in back.unmade), *(Back(unsure=[job]) for job in back.unsure)]
        for part in parts:
            jobs = part.over + part.passed
            try:
                with self._db.write() as session:
                    _known = locks.lock(session, {job.connection_id for job in jobs})
                    woken = self._write_down(session, part, self._clock())
                    slots.place(session, on=part.passed, ahead=())
            except Unavailable:
                if part.passed:
                    self._flights.keep(back)
                    raise
                self._flights.keep(part)
            except Exception as error:
                log.error("settling_broken", deliveries=[job.delivery_id for job in jobs], error=type(error).__name__)
                self._flights.settled(Back(part.outcomes, part.unmade))
            else:
                self._flights.settled(part)
                self.wake(woken)

    def _write_down(self, session: Session, back: Back, now: dt.datetime) -> set[str]:
        """Settle what has come back; return the connections that may have more to do at once."""
        woken = settlements.settle(session, back.outcomes, now, self._chance, self._settings.doubt_proof_s)
        # Of what is not surely ours another process may have the lease, under the same fence.
        ours = claims.held(session, self._owner, [job.lease for job in back.unsure])
        unsure = [job for job in back.unsure if job.lease in ours]
        return woken | unmade.give_back(session, back.unmade + unsure, now)

    # --- waiting --------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        with self._changed:
            if not (self._flights.anything_back or self._hot or self._stopping):
                self._changed.wait(max(0.0, min(self._look_at - self._elapsed(), LOOK_EVERY_S)))
            company = self._flights.anything_back and self._flights.on_the_wire > 0
            hungry = not company or self._changed.wait_for(
                lambda: self._stopping or self._flights.hungry(self._hot), ROUND_S)
        if company and hungry:
            time.sleep(LINGER_S)
        elif self._stopping:
            time.sleep(0.01)

    def _wanted(self) -> tuple[set[str], set[str]]:
        with self._changed:
            wanted = self._hot, self._doubts
            self._hot, self._doubts = set(), set()
        return wanted

    def _look(self) -> None:
        if self._elapsed() < self._look_at or self._stopping:
            return
        now = self._clock()
        with self._db.read() as session:
            due, doubts = rounds.due(session, now), rounds.doubtful(session, now)
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
        now = self._elapsed()
        for flight in self._flights.unanswered(since=now - limit):
            log.error("call_overdue", delivery_id=flight.job.delivery_id, connection_id=flight.job.connection_id)
            overdue = calls.unanswered(flight.target, flight.job, flight.started_at, self._clock(), limit)
            self._flights.back(flight, overdue, now)

    def _renew(self) -> None:
        third = self._settings.lease_s / 3
        if self._elapsed() - self._renewed < third:
            return
        self._renewed = began = self._elapsed()
        flights = self._flights.leased(before=began - third / 2)
        if not flights:
            return
        until = self._clock() + dt.timedelta(seconds=self._settings.lease_s)
        with self._db.write() as session:
            ours = claims.renew(session, self._owner, [flight.job.lease for flight in flights], until)
        self._flights.renewed(ours, began + self._settings.lease_s)


def _parted(jobs: Iterable[Job], room: dict[str, int]) -> tuple[list[Job], list[Job]]:
    """Return the jobs that have a slot, and those that were claimed ahead."""
    left, on, ahead = Counter(room), list[Job](), list[Job]()
    for job in jobs:
        (on if left[job.connection_id] > 0 else ahead).append(job)
        left[job.connection_id] -= 1
    return on, ahead
