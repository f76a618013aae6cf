"""The states of an order."""

from __future__ import annotations

from decimal import Decimal

from contracts.errors import InvalidTransition

DRAFT, CONFIRMED, FULFILLED, CANCELLED = "draft", "confirmed", "fulfilled", "cancelled"

_NEXT = {DRAFT: {CONFIRMED, CANCELLED}, CONFIRMED: {FULFILLED, CANCELLED}, FULFILLED: set[str](), CANCELLED: set[str]()}


def move(status: str, to: str) -> str:
    """Return the state after the step `status` → `to`.

    Raises:
        InvalidTransition: the order cannot take that step, nor take it twice; `allowed` names those it can.
    """
    if to not in _NEXT[status]:
        raise InvalidTransition(f"An order that is {status} cannot become {to}", status=status,
                                allowed=sorted(_NEXT[status]))
    return to


def require_draft(status: str) -> None:
    """Refuse to change anything but a draft.

    Raises:
        InvalidTransition: the order has been confirmed or cancelled.
    """
    if status != DRAFT:
        raise InvalidTransition(f"An order that is {status} cannot be changed", status=status,
                                allowed=sorted(_NEXT[status]))


def number(year: int, serial: int) -> str:
    """Return an order's number for people: `SO-2026-000123`. Unique by the serial, which the year does not restart."""
    return f"SO-{year}-{serial:06d}"


def payment_status(total: Decimal, paid: Decimal) -> str:
    """Return how far an order is paid."""
    if paid <= 0:
        return "unpaid"
    return "paid" if paid >= total else "partial"
