"""What an order's lines may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from contracts.sales import MOST_LINES
from services.sales.domain import money

Refusal = dict[str, str]
"""`{pointer, code, message}` of one refused value."""


class Offer(Protocol):
    """A product as it is offered now."""

    id: Any
    sku: Any
    name: Any
    price: Any
    currency: Any
    tax_code: Any
    active: Any


@dataclass(frozen=True)
class Line:
    """A line as it is kept. SKU, name, price and tax code are copies: later changes of the product leave them alone."""

    line: int
    product_id: str
    sku: str
    name: str
    quantity: Decimal
    unit_price: Decimal
    tax_code: str
    amount: Decimal


def refusal(pointer: str, code: str, message: str) -> Refusal:
    """Return one refused value."""
    return {"pointer": pointer, "code": code, "message": message}


def draw_up(asked: Sequence[Mapping[str, Any]], currency: str,
            offers: Mapping[str, Offer]) -> tuple[list[Line], list[Refusal]]:
    """Return the lines of an order, and everything that is wrong with what was asked; with a refusal, use no line.

    Args:
        asked: sku, quantity, and optionally unit_price and tax_code, in the order's sequence.
        currency: of the order; a product is sold in its own currency only.
        offers: every product that `asked` names and that exists, by SKU.
    """
    if not asked:
        return [], [refusal("/lines", "required", "An order has at least one line.")]
    if len(asked) > MOST_LINES:
        return [], [refusal("/lines", "too_many", f"An order has at most {MOST_LINES} lines.")]
    lines: list[Line] = []
    refused: list[Refusal] = []
    for n, one in enumerate(asked):
        offer = offers.get(one["sku"])
        faults = _faults(one, offer, currency, f"/lines/{n}")
        if faults or offer is None:
            refused += faults
            continue
        line = _line(n + 1, one, offer, currency)
        if line.amount >= money.MOST:
            refused.append(refusal(f"/lines/{n}/quantity", "too_large", "The line's amount is too large."))
        lines.append(line)
    if not refused and money.total(line.amount for line in lines) >= money.MOST:
        refused.append(refusal("/lines", "too_large", "The order's total is too large."))
    return lines, refused


def _faults(one: Mapping[str, Any], offer: Offer | None, currency: str, at: str) -> list[Refusal]:
    found = []
    if one["quantity"] <= 0:
        found.append(refusal(f"{at}/quantity", "not_positive", "Must be greater than zero."))
    if one.get("unit_price", 0) < 0:
        found.append(refusal(f"{at}/unit_price", "negative", "Must be zero or greater."))
    if offer is None:
        return [*found, refusal(f"{at}/sku", "unknown", f"There is no product with the SKU {one['sku']}.")]
    if not offer.active:
        found.append(refusal(f"{at}/sku", "inactive", f"{one['sku']} is not sold any more."))
    if offer.currency != currency:
        message = f"{one['sku']} is sold in {offer.currency}, not {currency}."
        found.append(refusal(f"{at}/sku", "other_currency", message))
    if "unit_price" not in one and offer.price is None:
        found.append(refusal(f"{at}/unit_price", "required", f"{one['sku']} has no price of its own; give one."))
    return found


def _line(number: int, one: Mapping[str, Any], offer: Offer, currency: str) -> Line:
    price = one.get("unit_price", offer.price)
    return Line(line=number, product_id=offer.id, sku=offer.sku, name=offer.name, quantity=one["quantity"],
                unit_price=price, tax_code=one.get("tax_code", offer.tax_code),
                amount=money.amount(one["quantity"], price, currency))
