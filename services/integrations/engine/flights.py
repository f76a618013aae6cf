"""The calls of one process: on a slot of their connection, come back, or ahead, waiting for a slot to come free.

A call that comes back passes its slot to the next job of its connection at once, on the same thread; the turn that
settles it writes down who has it now. A call that fails as the next would too gives back what is ahead: a turn has to
see what it means.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from services.integrations.domain import failures
from services.integrations.engine.targets import Target
from services.integrations.operations.jobs import Job
from services.integrations.operations.outcomes import Outcome

QUICK_S = 0.25
"""A connection whose calls take longer claims nothing ahead: there a turn costs nothing, and jobs would grow old."""
ROUNDS, ROUNDS_S = 6, 0.12
"""Most jobs ahead of each slot, and how long they should last: a turn that settles many keeps calls waiting."""
AHEAD_MOST_S = 1.0
"""After so long a job that is ahead is given back: what was right when it was leased may not be so any more."""


@dataclass(eq=False)
class Flight:
    """A job in hand, by the monotonic clock, which goes on while a process is stopped.

    Attributes:
        claimed: when its lease was taken.
        valid_until: when that ends.
        slot_until: when the lease ends that stands for its slot: its own, or that of a call whose slot it was passed.
        began: when a worker took it up; None before.
        over: whether it is known what came of it.
    """

    job: Job
    target: Target
    started_at: dt.datetime
    claimed: float
    valid_until: float
    slot_until: float
    began: float | None = None
    over: bool = False


@dataclass
class Back:
    """What has come back since the last turn.

    Attributes:
        unmade: jobs that were not called and are to wait again.
        unsure: jobs that were not called, and may not even be leased: the commit of their claim was never answered.
        passed: jobs that have been passed a slot and may still be on it.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    unmade: list[Job] = field(default_factory=list)
    unsure: list[Job] = field(default_factory=list)
    passed: list[Job] = field(default_factory=list)

    @property
    def over(self) -> list[Job]:
        """The jobs that this process has no more to do with."""
        return [*(outcome.job for outcome in self.outcomes), *self.unmade, *self.unsure]


class Flights:
    """All that one process has leased. Guarded by `changed`, which is told when something has come back.

    At any moment a process has no more calls of a connection on the wire than it has leases that count as on a slot.
    A slot is passed on only from a call whose lease still counts, and both are settled in one transaction.
    """

    def __init__(self, changed: threading.Condition, call_s: float) -> None:
        self._changed, self._call_s = changed, call_s
        self._all: dict[tuple[str, int], Flight] = {}
        self._ahead: defaultdict[str, deque[Flight]] = defaultdict(deque)
        self._back = Back()
        self._idle: defaultdict[str, list[float]] = defaultdict(list)
        self._warned: set[str] = set()
        self._took: dict[str, float] = {}
        self._ways: dict[str, float] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._all) + len(self._back.unsure)

    # --- what the dispatcher asks -----------------------------------------------------------------------------------

    @property
    def anything_back(self) -> bool:
        """Whether a turn has something to settle."""
        return bool(self._back.over)

    def hungry(self, woken: Collection[str]) -> bool:
        """Tell whether as much has come back of a connection as is still ahead of it, or nothing is of a woken one."""
        back = Counter(job.connection_id for job in self._back.over)
        return any(back[id] >= len(self._ahead[id]) for id in {*back, *woken})

    @property
    def on_the_wire(self) -> int:
        """How many calls have not come back."""
        return sum(not flight.over for flight in self._all.values()) - sum(map(len, self._ahead.values()))

    def on_slots(self) -> Counter[str]:
        """Return how many slots of each connection this process holds: those of calls on the wire, and those that came
        free since the last turn. A call that has come back has passed its own on."""
        with self._changed:
            waiting = {flight.job.lease for queue in self._ahead.values() for flight in queue}
            calls = Counter(flight.job.connection_id for lease, flight in self._all.items()
                            if not flight.over and lease not in waiting)
            return calls + Counter({id: len(free) for id, free in self._idle.items()})

    def may_wait(self, connection_id: str, slots: int) -> int:
        """Return how many jobs more may be ahead of so many slots: a few rounds of them, where calls are quick."""
        with self._changed:
            took = self._took.get(connection_id, QUICK_S)
            if took >= QUICK_S or self._closed:
                return 0
            rounds = max(1, min(ROUNDS, int(ROUNDS_S / max(took, 0.001))))
            return max(0, slots * rounds - len(self._ahead[connection_id]))

    def unanswered(self, since: float) -> list[Flight]:
        """Return the calls that began before `since` and have not come back."""
        with self._changed:
            return [flight for flight in self._all.values()
                    if not flight.over and flight.began is not None and flight.began < since]

    def leased(self, before: float) -> list[Flight]:
        """Return what has been leased before this moment."""
        with self._changed:
            return [flight for flight in self._all.values() if flight.claimed < before]

    def makes_way(self, connection_id: str, now: float) -> bool:
        """Tell whether no slot of a connection is passed on for the moment, and nothing of it claimed."""
        return now < self._ways.get(connection_id, now)

    def make_way(self, connection_id: str, until: float) -> None:
        """Pass no slot of a connection on until then, or `go_on`; what is ahead of it waits again."""
        with self._changed:
            self._ways[connection_id] = until
            self._give_back([connection_id])

    def go_on(self, connection_id: str) -> None:
        """Let slots of a connection be passed on again."""
        with self._changed:
            self._ways.pop(connection_id, None)

    # --- a turn -------------------------------------------------------------------------------------------------------

    def gathered(self) -> Back:
        """Return what has come back, and who has its slots now."""
        with self._changed:
            back, self._back = self._back, Back()
            over = {job.lease for job in back.over}
            back.passed = [job for job in back.passed if job.lease not in over]
            self._idle.clear()
            self._warned.clear()
            return back

    def keep(self, back: Back) -> None:
        """Keep what could not be settled for the next turn."""
        with self._changed:
            self._back.outcomes[:0] = back.outcomes
            self._back.unmade[:0] = back.unmade
            self._back.unsure[:0] = back.unsure
            self._back.passed[:0] = back.passed

    def unsure(self, jobs: Sequence[Job]) -> None:
        """Take in what a turn has claimed whose end is unknown: else these would wait out their leases."""
        with self._changed:
            self._back.unsure += jobs

    def settled(self, back: Back) -> None:
        """Forget what is over; who was passed a slot has it in his own name now."""
        with self._changed:
            for job in back.over:
                self._all.pop(job.lease, None)
            for job in back.passed:
                if (flight := self._all.get(job.lease)) is not None:
                    flight.slot_until = flight.valid_until

    def renewed(self, leases: Collection[tuple[str, int]], until: float) -> None:
        """Note that these leases last until then."""
        with self._changed:
            for flight in [self._all[lease] for lease in leases if lease in self._all]:
                if flight.slot_until == flight.valid_until:
                    flight.slot_until = until
                flight.valid_until = until

    def begin(self, on: Sequence[Flight], ahead: Sequence[Flight], now: float) -> list[Flight]:
        """Take what was claimed in hand; return what is called now, also on slots that came free meanwhile."""
        with self._changed:
            self._all.update((flight.job.lease, flight) for flight in (*on, *ahead))
            for flight in ahead:
                self._ahead[flight.job.connection_id].append(flight)
            connections = {flight.job.connection_id for flight in ahead}
            barred = {id for id in connections if self._closed or id in self._warned or self.makes_way(id, now)}
            self._give_back(barred)
            late = [self._next(id, until, now) for id in connections for until in self._idle.pop(id, ())]
            return [*on, *(flight for flight in late if flight is not None)]

    def give_back(self, connection_ids: Iterable[str]) -> None:
        """Let what is ahead of these connections wait again."""
        with self._changed:
            self._give_back(connection_ids)

    def give_back_old(self, now: float) -> None:
        """Let wait again what has been ahead for too long."""
        with self._changed:
            for queue in self._ahead.values():
                while queue and now - queue[0].claimed >= AHEAD_MOST_S:
                    self._over_unmade(queue.popleft())

    def close(self) -> None:
        """Give back all that is ahead, and whatever would come to be."""
        with self._changed:
            self._closed = True
            self._give_back(list(self._ahead))

    # --- a worker -----------------------------------------------------------------------------------------------------

    def back(self, flight: Flight, outcome: Outcome, now: float) -> Flight | None:
        """Take in what became of a call; return who is called on its slot."""
        with self._changed:
            if flight.over:
                return None
            flight.over = True
            self._back.outcomes.append(outcome)
            self._changed.notify()
            id = flight.job.connection_id
            if outcome.failed is not None and outcome.failed.kind in failures.WOULD_RECUR:
                self._warned.add(id)
                self._took.pop(id, None)
                self._give_back([id])
            elif outcome.failed is None:
                self._took[id] = now - (flight.claimed if flight.began is None else flight.began)
            if id in self._warned:
                return None
            following = self._next(id, flight.slot_until, now)
            if following is None:
                self._idle[id].append(flight.slot_until)
            return following

    def unmade(self, flight: Flight) -> None:
        """Take in that a call was not made."""
        with self._changed:
            self._over_unmade(flight)

    def _next(self, connection_id: str, slot_until: float, now: float) -> Flight | None:
        """Return the next job that may go, and give it a slot; none if that would not last for its call."""
        queue = self._ahead[connection_id]
        while queue and now + self._call_s <= slot_until and not self.makes_way(connection_id, now):
            flight = queue.popleft()
            if now - flight.claimed < AHEAD_MOST_S and now + self._call_s <= flight.valid_until:
                self._back.passed.append(flight.job)
                flight.slot_until = slot_until
                return flight
            self._over_unmade(flight)
        return None

    def _give_back(self, connection_ids: Iterable[str]) -> None:
        for id in connection_ids:
            while self._ahead[id]:
                self._over_unmade(self._ahead[id].popleft())

    def _over_unmade(self, flight: Flight) -> None:
        flight.over = True
        self._back.unmade.append(flight.job)
        self._changed.notify()
