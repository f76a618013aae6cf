"""The states of a ticket: what each step and each reply changes. A step is told as the fields it sets."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from contracts.errors import Invalid, InvalidTransition

NEW, OPEN, PENDING, RESOLVED, CLOSED = "new", "open", "pending", "resolved", "closed"
INBOUND, OUTBOUND = "inbound", "outbound"

_NEXT = {NEW: {OPEN, RESOLVED}, OPEN: {PENDING, RESOLVED}, PENDING: {OPEN, RESOLVED}, RESOLVED: {OPEN, CLOSED},
         CLOSED: set[str]()}

Fields = dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """How far a ticket has come."""

    status: str
    reopen_count: int = 0


def move(now: Standing, to: str, resolution: str | None, at: dt.datetime) -> Fields:
    """Return what a person's step sets.

    Args:
        now: as the ticket stands.
        to: the state it is moved to.
        resolution: what solved it; with `resolved`, and only then.
        at: when.

    Raises:
        InvalidTransition: the ticket cannot take that step, nor take it twice; `allowed` names those it can.
        Invalid: there is no resolution where one is needed, or one where none belongs.
    """
    if to not in _NEXT[now.status]:
        raise InvalidTransition(f"A ticket that is {now.status} cannot become {to}", status=now.status,
                                allowed=sorted(_NEXT[now.status]))
    if to == RESOLVED:
        if not (resolution and resolution.strip()):
            raise Invalid.of("/resolution", "required", "Say what solved it.")
        return {"status": RESOLVED, "resolution": resolution, "resolved_at": at}
    if resolution is not None:
        raise Invalid.of("/resolution", "not_allowed", "Belongs to the state resolved alone.")
    if to == CLOSED:
        return {"status": CLOSED, "closed_at": at}
    return _reopened(now) if now.status == RESOLVED else {"status": to}


def replied(now: Standing, direction: str) -> Fields:
    """Return what a reply sets: the customer's opens a pending or resolved ticket, the team's first one a new ticket.

    A note of the team's own is no reply; do not ask for one.

    Raises:
        InvalidTransition: the ticket is closed; what the customer wants now is a new one.
    """
    if now.status == CLOSED:
        raise InvalidTransition("A ticket that is closed takes no reply; open a new one", status=CLOSED, allowed=[])
    if direction == OUTBOUND:
        return {"status": OPEN} if now.status == NEW else {}
    if now.status == RESOLVED:
        return _reopened(now)
    return {"status": OPEN} if now.status == PENDING else {}


def claimed(now: Standing) -> Fields:
    """Return what being claimed sets beside the assignee.

    Raises:
        InvalidTransition: there is nothing left to do.
    """
    if now.status in (RESOLVED, CLOSED):
        raise InvalidTransition(f"A ticket that is {now.status} cannot be claimed", status=now.status,
                                allowed=sorted(_NEXT[now.status]))
    return {"status": OPEN} if now.status == NEW else {}


def require_not_closed(now: Standing) -> None:
    """Refuse to change or assign a closed ticket.

    Raises:
        InvalidTransition: it is closed.
    """
    if now.status == CLOSED:
        raise InvalidTransition("A ticket that is closed cannot be changed", status=CLOSED, allowed=[])


def _reopened(now: Standing) -> Fields:
    # Without its resolution: to be closed it must be resolved anew.
    return {"status": OPEN, "reopen_count": now.reopen_count + 1, "resolution": None, "resolved_at": None}
