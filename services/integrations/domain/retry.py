"""When to try again. All figures are seconds; chance is a function that returns 0 ≤ x < 1."""

from __future__ import annotations

from collections.abc import Callable

Chance = Callable[[], float]

SCHEDULE_S: tuple[int, ...] = (5, 30, 120, 600, 1800, 7200, 14400, 28800, 43200, 86400, 86400)
"""Wait after the first, second, … failure."""
MAX_ATTEMPTS = len(SCHEDULE_S) + 1
WINDOW_S = sum(SCHEDULE_S)
"""From the first failure to the last attempt, without jitter: 74 h 42 m 35 s, longer than a long weekend."""
JITTER = 0.2
PROBES_S: tuple[int, ...] = (5, 30, 120, *SCHEDULE_S[3:])
"""Wait before the first, second, … look at the target after an ambiguous answer."""


def wait_s(failures: int, chance: Chance) -> float | None:
    """Return how long to wait after failure number `failures` (1 is the first), ±20 %; None when it was the last."""
    if failures >= MAX_ATTEMPTS:
        return None
    return SCHEDULE_S[max(failures, 1) - 1] * (1 - JITTER + 2 * JITTER * chance())


def probe_s(probes: int, chance: Chance) -> float | None:
    """Return how long to wait before the next look when `probes` have been made; None when it was the last.

    Up to 20 % later, never earlier: a look that comes too early proves nothing.
    """
    if probes >= len(PROBES_S):
        return None
    return PROBES_S[probes] * (1 + JITTER * chance())
