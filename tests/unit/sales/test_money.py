"""Amounts and totals."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sales.domain import money

quantities = st.decimals(min_value=Decimal("0.0001"), max_value=Decimal(10) ** 9, places=4)
prices = st.decimals(min_value=0, max_value=Decimal(10) ** 9, places=4)
currencies = st.sampled_from(["CNY", "USD", "JPY", "KWD"])


def half_up(value: Fraction, unit: Fraction) -> Fraction:
    """Round by hand: the nearest multiple of `unit`, the upper one at the middle."""
    return (value / unit + Fraction(1, 2)) // 1 * unit


@given(quantities, prices, currencies)
def test_an_amount_is_quantity_times_price_rounded_half_up(quantity: Decimal, price: Decimal, currency: str) -> None:
    exact = half_up(Fraction(quantity) * Fraction(price), Fraction(money.minor_unit(currency)))
    assert Fraction(money.amount(quantity, price, currency)) == exact


@given(st.lists(st.tuples(quantities, prices), min_size=1, max_size=500), currencies)
def test_the_total_is_the_sum_of_the_lines_to_the_cent(lines: list[tuple[Decimal, Decimal]], currency: str) -> None:
    amounts = [money.amount(quantity, price, currency) for quantity, price in lines]
    total = money.total(amounts)
    assert Fraction(total) == sum(map(Fraction, amounts))
    assert total % money.minor_unit(currency) == 0


@pytest.mark.parametrize(("quantity", "price", "currency", "amount"), [
    ("1", "0.005", "CNY", "0.01"), ("3", "0.335", "CNY", "1.01"), ("0.5", "0.01", "USD", "0.01"),
    ("1", "0.5", "JPY", "1"), ("1", "0.0005", "KWD", "0.001"), ("7", "99.90", "CNY", "699.30"),
])
def test_amounts_that_a_person_would_check_by_hand(quantity: str, price: str, currency: str, amount: str) -> None:
    assert money.amount(Decimal(quantity), Decimal(price), currency) == Decimal(amount)
