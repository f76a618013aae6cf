"""A run's states, the steps between them, and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

State = Literal["pending", "running", "awaiting_approval", "completed", "failed", "cancelled"]

CLAIMABLE: tuple[State, ...] = ("pending", "running")
"""States in which a worker takes its next page when it is due."""
UNFINISHED: tuple[State, ...] = (*CLAIMABLE, "awaiting_approval")
RELEASING = "releasing"
"""The last phase of a match: all is linked and settled, and what waited for that is let go, a page at a time."""
SEEN = "seen"
"""Counts the records that were looked at; every kind keeps it, and progress is told from it."""
TO_CONFIRM = "to_confirm"
"""Counts what a person is asked to confirm; it moves with the findings that are decided, in their transaction."""

DECISIONS: Mapping[str, tuple[str, ...]] = {
    "certain": ("link", "create", "ignore"),
    "doubtful": ("link", "create", "ignore"),
    "new": ("create", "ignore"),
    "missing_remote": ("repair", "report", "quarantine", "ignore"),
    "missing_local": ("adopt", "report", "quarantine", "ignore"),
    "mismatch": ("repair", "adopt", "report", "quarantine", "ignore"),
    "duplicate_remote": ("report", "quarantine", "ignore"),
    "stale_binding": ("repair", "report", "quarantine", "ignore"),
}
"""Kind of a finding → what may be decided about it; nothing about those that are only told."""


def percent(counts: Mapping[str, int], total: int | None, state: str) -> float | None:
    """Return how much of a run is done, from 0 to 100; None if nobody can tell how much there is.

    That is so too of one that goes on when all has been looked at: what it still links, asks or mends is not counted.
    """
    seen = counts.get(SEEN, 0)
    if state == "completed":
        return 100.0
    if total is None or seen >= total:
        return None
    return math.floor(1000 * seen / total) / 10


def seconds_left(counts: Mapping[str, int], total: int | None, worked_s: float | None) -> int | None:
    """Return how long a run will take on, at the pace at which it has looked so far; None if nobody can tell."""
    seen = counts.get(SEEN, 0)
    if total is None or not worked_s or not 0 < seen < total:
        return None
    return math.ceil((total - seen) * worked_s / seen)
