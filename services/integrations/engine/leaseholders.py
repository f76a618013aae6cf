"""Work under leases, for which several processes may run one worker each: what one has taken, the others leave alone.

What is still held when its process ends is taken by another as soon as its lease is over. A fence, one higher with
every taking, keeps whoever comes late from recording anything.
"""

from __future__ import annotations

import datetime as dt
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from chassis import telemetry
from contracts.errors import Unavailable
from services.integrations.engine.workers import Workers
from services.integrations.operations.claims import Lease

log = telemetry.logger(__name__)
T = TypeVar("T")

LOOK_EVERY_S = 1.0


class Leaseholder(ABC, Generic[T]):
    """Takes what is due, as far as there is room, and works on each on a thread of its own until it is given back."""

    def __init__(self, name: str, at_once: int, owner: str, lease_s: float, clock: Callable[[], dt.datetime]) -> None:
        self._name, self._at_once, self._owner, self._lease_s, self._clock = name, at_once, owner, lease_s, clock
        self._workers = Workers(name, at_once)
        self._woken = threading.Event()
        self._stopping = False
        self._busy = 0

    def wake(self) -> None:
        """Say that something has become due."""
        self._woken.set()

    def run(self) -> None:
        """Work until `stop`."""
        while not self._stopping:
            try:
                self.start_due()
            except Unavailable as error:
                log.warning("work_waits", pool=self._name, reason=error.message)
            except Exception as error:
                log.error("work_broken", pool=self._name, error=type(error).__name__)
            self._woken.wait(LOOK_EVERY_S)
            self._woken.clear()
        self._workers.stop()

    def stop(self) -> None:
        """End `run`; a page in hand is finished, the next is left to whoever takes it then."""
        self._stopping = True
        self._woken.set()

    def start_due(self) -> None:
        """Take what is due, as far as there is room, and begin to work on it."""
        room = self._at_once - self._busy
        if room <= 0:
            return
        for taken in self._take(room, self._clock()):
            self._busy += 1
            self._workers.do(partial(self._hold, taken))

    def _hold(self, taken: T) -> None:
        try:
            self._work(taken)
        finally:
            self._busy -= 1

    def _lease(self, now: dt.datetime) -> Lease:
        return Lease(owner=self._owner, until=now + dt.timedelta(seconds=self._lease_s))

    @abstractmethod
    def _take(self, room: int, now: dt.datetime) -> Sequence[T]:
        """Lease at most `room` of what is due."""

    @abstractmethod
    def _work(self, taken: T) -> None:
        """Go on page by page until it is given back, or until `_stopping`; a failure is recorded where it belongs."""
