"""A delivery's states, the steps between them, and what becomes of a waiting delivery when a newer version arrives."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal, get_args

State = Literal["pending", "leased", "retry_wait", "in_doubt", "blocked",
                "delivered", "skipped", "superseded", "dead", "cancelled"]
Op = Literal["upsert", "delete", "append"]

STATES: tuple[State, ...] = get_args(State)
TERMINAL: tuple[State, ...] = ("delivered", "skipped", "superseded", "dead", "cancelled")
PRUNABLE: tuple[State, ...] = ("delivered", "skipped", "superseded", "cancelled")
"""Settled, and nobody's business any more; a dead one waits for a person, however long."""
CLAIMABLE: tuple[State, ...] = ("pending", "retry_wait")
"""States from which a delivery is taken when it is due."""
WAITING: tuple[State, ...] = (*CLAIMABLE, "blocked")
"""Not on the wire and not settled; a lane has at most one upsert among these."""
IN_FLIGHT: tuple[State, ...] = ("leased", "in_doubt")
"""On the wire, or possibly at the target; a lane has at most one delivery among these."""
OPEN: tuple[State, ...] = (*WAITING, *IN_FLIGHT)

EVENTS, BACKGROUND = PRIORITIES = (0, 1)
"""The levels in use, first served first. A query per level keeps each a plain walk along its index."""
DECIDED = ("reconcile", "forced")
"""Origins of what a person decided: it goes although the target was brought that version before."""

STEPS: dict[State, tuple[State, ...]] = {
    "pending": ("leased", "superseded", "cancelled"),
    "retry_wait": ("leased", "superseded", "cancelled"),
    # blocked → dead: what it waits for has ended without being bound, so it would wait for ever.
    "blocked": ("pending", "leased", "superseded", "cancelled", "dead"),
    # leased → pending: the lease ended before any byte left. leased → superseded: it failed while a newer one waited.
    "leased": ("pending", "delivered", "skipped", "retry_wait", "in_doubt", "blocked", "dead", "superseded"),
    "in_doubt": ("in_doubt", "delivered", "pending", "dead", "superseded"),
    **{state: () for state in ("delivered", "skipped", "superseded", "dead", "cancelled")},
}


class IllegalStep(ValueError):
    """A delivery cannot go from the one state to the other."""


def step(before: State, after: State) -> State:
    """Return `after`.

    Raises:
        IllegalStep: no step leads there; a settled delivery never changes.
    """
    if after not in STEPS[before]:
        raise IllegalStep(f"a delivery does not go from {before} to {after}")
    return after


@dataclass(frozen=True)
class Wait:
    """How far a waiting delivery has come with its retries; the version that replaces it goes on from there."""

    state: State
    due_at: dt.datetime
    attempts: int = 0
    deferrals: int = 0
    blocked_entity: str | None = None
    blocked_id: str | None = None
    deadline_at: dt.datetime | None = None


def supersedes(op: Op, waiting_op: Op) -> bool:
    """Tell whether a new delivery replaces a waiting one of its lane.

    A newer upsert says all that the waiting one would have said, and a delete makes it pointless. An append is a fact
    of its own and is never dropped; nor is a waiting delete: the target must see it before what follows.
    """
    return waiting_op == "upsert" and op in ("upsert", "delete")


def succeed(op: Op, waiting: Wait | None, now: dt.datetime) -> Wait:
    """Return where a new delivery starts.

    An upsert inherits the retries and the time of the one it replaces, so that a record that changes all the time
    neither starves nor resets its back-off. Anything else is due at once.
    """
    if op == "upsert" and waiting is not None:
        return waiting
    return Wait(state="pending", due_at=now)


def is_stale(version: int, known: int | None) -> bool:
    """Tell whether `version` says nothing that is not known already; versions only rise."""
    return known is not None and version <= known
