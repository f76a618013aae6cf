"""The time and the ids of a schedule: both stand still until the schedule moves them."""

from __future__ import annotations

import datetime as dt

START = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC)


class Clock:
    """One clock for the hub, its processes and the target; it goes when it is told to."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._made = 0

    def now(self) -> dt.datetime:
        """The wall clock."""
        return START + dt.timedelta(seconds=self._seconds)

    def elapsed(self) -> float:
        """The monotonic clock: it goes on for a process that is stopped."""
        return self._seconds

    def advance(self, seconds: float) -> None:
        self._seconds += max(seconds, 0.0)

    def restart(self) -> None:
        """Begin the next schedule."""
        self._seconds, self._made = 0.0, 0

    def uuid7(self) -> str:
        """Return what `uuid_utils.uuid7` would, of this clock and without chance (RFC 9562, 5.7)."""
        self._made += 1
        stamp = f"{int(self.now().timestamp() * 1000):012x}"
        return f"{stamp[:8]}-{stamp[8:]}-7000-8000-{self._made:012x}"
