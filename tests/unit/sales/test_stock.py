"""What is available, and whether it suffices."""

from __future__ import annotations

from decimal import Decimal

import pytest

from contracts.errors import InsufficientStock
from services.sales.domain import stock


def demand(sku: str, asked: str, available: str | None) -> stock.Demand:
    return stock.Demand(sku, Decimal(asked), None if available is None else Decimal(available))


def test_the_last_piece_suffices_and_what_is_not_counted_always_does() -> None:
    stock.require([demand("A", "3", "3"), demand("B", "999", None)])


def test_all_that_falls_short_is_named_what_suffices_is_not() -> None:
    with pytest.raises(InsufficientStock) as caught:
        stock.require([demand("A", "1", "1"), demand("B", "2.5", "2"), demand("C", "1", "-4")])
    assert caught.value.fields == {"sku": "B", "asked": "2.5", "available": "2", "short": [
        {"sku": "B", "asked": "2.5", "available": "2"}, {"sku": "C", "asked": "1", "available": "-4"}]}


def test_a_count_is_rounded_down_for_what_is_not_there_cannot_be_promised() -> None:
    assert stock.counted(Decimal("0.33339999")) == Decimal("0.3333")
    assert stock.counted(Decimal("-0.00001")) == Decimal("-0.0001")
    assert stock.counted(None) is None


def test_available_is_what_lies_there_less_what_is_promised() -> None:
    assert stock.available(Decimal(10), Decimal(4)) == 6
    assert stock.available(Decimal(3), Decimal(4)) == -1
    assert stock.available(None, Decimal(4)) is None
