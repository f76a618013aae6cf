"""A run's states, the steps between them, and how far it has come."""

from __future__ import annotations

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
    """Return how much of a run is done, from 0 to 100; None if nobody can tell how much there is."""
    if state == "completed":
        return 100.0
    if total is None:
        return None
    return round(min(100.0 * counts.get(SEEN, 0) / total, 100.0), 1) if total else 0.0


def seconds_left(counts: Mapping[str, int], total: int | None, elapsed_s: float) -> int | None:
    """Return how long a run will take on, at the pace it has had; None if nobody can tell."""
    seen = counts.get(SEEN, 0)
    if total is None or not seen:
        return None
    return round(max(total - seen, 0) * elapsed_s / seen)
