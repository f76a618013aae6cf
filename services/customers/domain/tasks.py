"""The states of a task: what each step changes, and which steps there are.

A step is told as the fields it sets. `done` means 100 percent and a time of completion, in every way there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts.errors import InvalidTransition
from contracts.tasks import UNDER_WAY

OPEN, IN_PROGRESS, DONE, CANCELLED = "open", "in_progress", "done", "cancelled"

_NEXT = {OPEN: {IN_PROGRESS, DONE, CANCELLED}, IN_PROGRESS: {OPEN, DONE, CANCELLED}, DONE: {OPEN},
         CANCELLED: set[str]()}

Fields = dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """How far a task has come."""

    status: str
    progress: int = 0
    completed_at: dt.datetime | None = None


def complete(status: str, at: dt.datetime) -> Fields:
    """Return what completing a task sets.

    Raises:
        InvalidTransition: it is done or cancelled.
    """
    _move(status, DONE)
    return {"status": DONE, "progress": 100, "completed_at": at}


def reopen(status: str, to: str = OPEN, progress: int = 0) -> Fields:
    """Return what reopening a done task sets.

    Raises:
        InvalidTransition: it is not done.
    """
    if status != DONE:
        raise _refused(status, to)
    return {"status": to, "progress": progress, "completed_at": None}


def cancel(status: str, reason: str) -> Fields:
    """Return what cancelling a task sets.

    Raises:
        InvalidTransition: it is done or cancelled.
    """
    _move(status, CANCELLED)
    return {"status": CANCELLED, "cancel_reason": reason}


def work(status: str, to: str | None, progress: int | None) -> Fields:
    """Return what a change of a task under way sets; None is what the change does not name.

    Progress above zero puts an open task in progress, unless the change says otherwise; going back to open without
    saying how far it is starts from zero.

    Raises:
        InvalidTransition: it is done or cancelled, and the change would move it.
    """
    if to is None and progress is None:
        return {}
    if status not in UNDER_WAY:
        raise _refused(status, to or IN_PROGRESS)
    if to is None:
        to = IN_PROGRESS if progress else status
    if progress is None:
        return {"status": to} | ({"progress": 0} if (status, to) == (IN_PROGRESS, OPEN) else {})
    return {"status": to, "progress": progress}


def require_editable(status: str) -> None:
    """Refuse to change a cancelled task; one that is done may still be corrected.

    Raises:
        InvalidTransition: it is cancelled.
    """
    if status == CANCELLED:
        raise InvalidTransition("A task that is cancelled cannot be changed", status=status, allowed=[])


def follow(now: Standing, told: Standing, at: dt.datetime, *, reason: str) -> Fields:
    """Return what another system's word on a task's standing sets here.

    Args:
        now: as it stands here.
        told: as it stands there.
        at: when that was seen, for a completion that does not say when.
        reason: of a cancellation.

    Raises:
        InvalidTransition: the rules here do not lead there; a cancelled task stays as it is.
    """
    if told.status == DONE and now.status == DONE:
        return {"completed_at": told.completed_at or now.completed_at}
    if told.status == DONE:
        return complete(now.status, told.completed_at or at)
    if told.status == CANCELLED:
        return {} if now.status == CANCELLED else cancel(now.status, reason)
    if now.status == DONE:
        return reopen(now.status, told.status, told.progress)
    return work(now.status, told.status, told.progress)


def vanish(status: str, reason: str) -> Fields:
    """Return what its removal in another system sets: one that is done has been tidied away there, and stays done."""
    return cancel(status, reason) if status in UNDER_WAY else {}


def step_of(before: str, after: str) -> str:
    """Return the name of what happened to a task: `completed`, `reopened`, `cancelled`, or `updated`."""
    if before == after:
        return "updated"
    if after in (DONE, CANCELLED):
        return "completed" if after == DONE else "cancelled"
    return "reopened" if before == DONE else "updated"


def standing(fields: Mapping[str, Any]) -> Standing:
    """Return the standing that a record's fields tell."""
    return Standing(fields["status"], fields["progress"], fields["completed_at"])


def _move(status: str, to: str) -> None:
    if to not in _NEXT[status]:
        raise _refused(status, to)


def _refused(status: str, to: str) -> InvalidTransition:
    return InvalidTransition(f"A task that is {status} cannot become {to}", status=status,
                             allowed=sorted(_NEXT[status]))
