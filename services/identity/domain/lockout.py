"""How failed sign-ins slow down further ones."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

FORGET_AFTER = dt.timedelta(hours=24)
"""A counter that has rested for this long starts again at nothing."""


@dataclass(frozen=True)
class Patience:
    """How many failures are free, and how long the wait may grow.

    Attributes:
        free: failures without any wait.
        longest_s: seconds; the wait doubles with every further failure up to this.
    """

    free: int
    longest_s: float

    def wait_s(self, failures: int) -> float:
        """Return the seconds to wait after the `failures`-th failure in a row: 0, …, 0, 1, 2, 4, … the longest."""
        if failures < self.free:
            return 0.0
        return min(2.0 ** min(failures - self.free, 40), self.longest_s)


def counted(failures: int, last_at: dt.datetime | None, now: dt.datetime) -> int:
    """Return the counter after one more attempt, which counts as failed until it succeeds."""
    return 1 if last_at is None or now - last_at > FORGET_AFTER else failures + 1
