"""What is available, and whether it suffices.

`available = on_hand − our open reservations`. `on_hand` is what lies in the warehouse, which the ERP lowers when goods
leave it; a reservation stands for goods that we promised and that are still there. So a reservation ends when the order
is cancelled, or when a count made after the shipment has come in: before it the goods are in neither, after it they
would be subtracted twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from contracts.errors import InsufficientStock

_KEPT = Decimal("0.0001")


@dataclass(frozen=True)
class Demand:
    """How much of a product one order wants; `available` is None where nothing is counted."""

    sku: str
    asked: Decimal
    available: Decimal | None


def available(on_hand: Decimal | None, reserved: Decimal) -> Decimal | None:
    """Return what can still be promised: None without a limit, below zero when more was promised than there is."""
    return None if on_hand is None else on_hand - reserved


def counted(on_hand: Decimal | None) -> Decimal | None:
    """Return an ERP's count as we keep it: four decimals, rounded down, for what is not there cannot be promised."""
    return None if on_hand is None else on_hand.quantize(_KEPT, rounding=ROUND_FLOOR)


def require(demands: Iterable[Demand]) -> None:
    """Refuse an order if anything it wants is not there in full.

    Raises:
        InsufficientStock: `short` names every product that falls short; `sku`, `asked` and `available` the first.
    """
    short = [one for one in demands if one.available is not None and one.available < one.asked]
    if short:
        named = [_named(one) for one in short]
        sku, asked, left = named[0]["sku"], named[0]["asked"], named[0]["available"]
        raise InsufficientStock(f"{sku}: {asked} asked, {left} available", sku=sku, asked=asked, available=left,
                                short=named)


def _named(demand: Demand) -> dict[str, str]:
    return {"sku": demand.sku, "asked": plain(demand.asked), "available": plain(demand.available or Decimal(0))}


def plain(quantity: Decimal) -> str:
    """Return a quantity without trailing zeros."""
    return f"{quantity.normalize():f}"
