"""What an order's lines may be."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.sales.domain.lines import draw_up
from services.sales.domain.money import MOST


@dataclass
class Product:
    """A product as it is offered."""

    sku: str
    price: Decimal | None = Decimal("1.25")
    currency: str = "CNY"
    active: bool = True
    id: str = "p"
    name: str = "Pen"
    tax_code: str = "VAT13"


PEN = {"PEN": Product("PEN")}


def asked(quantity: str = "1", **more: Any) -> dict[str, Any]:
    return {"sku": "PEN", "quantity": Decimal(quantity), **more}


@given(st.lists(st.tuples(st.decimals(min_value="0.0001", max_value=1000, places=4),
                          st.decimals(min_value=0, max_value=1000, places=4)), min_size=1, max_size=50))
def test_every_line_asked_becomes_one_line_in_its_place(wanted: list[tuple[Decimal, Decimal]]) -> None:
    lines, refused = draw_up([{"sku": "PEN", "quantity": q, "unit_price": p} for q, p in wanted], "CNY", PEN)
    assert refused == []
    assert [(line.line, line.quantity, line.unit_price) for line in lines] == [
        (n + 1, q, p) for n, (q, p) in enumerate(wanted)]


def test_price_and_tax_are_the_products_unless_given() -> None:
    lines, _ = draw_up([asked("4"), asked("4", unit_price=Decimal("1.00"), tax_code="")], "CNY", PEN)
    assert [(line.unit_price, line.tax_code, line.amount) for line in lines] == [
        (Decimal("1.25"), "VAT13", Decimal("5.00")), (Decimal("1.00"), "", Decimal("4.00"))]


def test_a_free_line_is_no_fault() -> None:
    lines, refused = draw_up([asked(unit_price=Decimal(0))], "CNY", PEN)
    assert (lines[0].amount, refused) == (0, [])


def test_a_line_can_be_wrong_in_several_ways_at_once() -> None:
    offers = {"PEN": Product("PEN", price=None, currency="USD", active=False)}
    _, refused = draw_up([asked("0")], "CNY", offers)
    assert [(one["pointer"], one["code"]) for one in refused] == [
        ("/lines/0/quantity", "not_positive"), ("/lines/0/sku", "inactive"), ("/lines/0/sku", "other_currency"),
        ("/lines/0/unit_price", "required")]


def test_amounts_that_no_column_could_hold_are_refused_not_cut() -> None:
    _, one_line = draw_up([asked("1000000", unit_price=MOST / 1000000)], "CNY", PEN)
    assert [(fault["pointer"], fault["code"]) for fault in one_line] == [("/lines/0/quantity", "too_large")]
    _, together = draw_up([asked("1", unit_price=MOST / 2), asked("1", unit_price=MOST / 2)], "CNY", PEN)
    assert [(fault["pointer"], fault["code"]) for fault in together] == [("/lines", "too_large")]
