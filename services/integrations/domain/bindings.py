"""A binding's states: how sure we are that our record and one of theirs are the same."""

from __future__ import annotations

from typing import Literal

State = Literal["unbound", "creating", "bound", "in_doubt", "conflict", "tombstoned"]

STEPS: dict[State, tuple[State, ...]] = {
    "unbound": ("creating", "bound", "tombstoned"),
    "creating": ("bound", "in_doubt", "unbound", "conflict"),
    "in_doubt": ("bound", "creating", "unbound", "conflict"),
    # bound → unbound: the target no longer knows the record, it is made anew.
    "bound": ("bound", "unbound", "conflict", "tombstoned"),
    "conflict": ("bound", "unbound", "tombstoned"),
    "tombstoned": (),
}


class IllegalStep(ValueError):
    """A binding cannot go from the one state to the other."""


def step(before: State, after: State) -> State:
    """Return `after`.

    Raises:
        IllegalStep: no step leads there.
    """
    if after not in STEPS[before]:
        raise IllegalStep(f"a binding does not go from {before} to {after}")
    return after


def acked(before: int, settled: int) -> int:
    """Return the version that the target is known to have; it never falls."""
    return max(before, settled)
