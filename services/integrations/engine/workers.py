"""A few threads that make calls. Green under the launcher's patch, real without it; the engine does not mind."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from chassis import telemetry

log = telemetry.logger(__name__)


class Workers:
    """At most `most` threads, made when first needed."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._threads = 0
        self._busy = 0

    @property
    def busy(self) -> int:
        """How many are at work, or are waited for."""
        return self._busy

    def do(self, work: Callable[[], None]) -> None:
        """Run `work` on a thread as soon as one is free."""
        with self._lock:
            self._busy += 1
            short = self._busy > self._threads and self._threads < self._most
            if short:
                self._threads += 1
                number = self._threads
        self._work.put(work)
        if short:
            threading.Thread(target=self._run, name=f"{self._name}-{number}", daemon=True).start()

    def stand_aside(self) -> None:
        """Let whatever else is ready run before the work goes on."""
        time.sleep(0)

    def stop(self) -> None:
        """Let the threads end when they have nothing left to do."""
        for _ in range(self._threads):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception as error:
                log.error("work_broken", pool=self._name, error=type(error).__name__)
            finally:
                with self._lock:
                    self._busy -= 1
