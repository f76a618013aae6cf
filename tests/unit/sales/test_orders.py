"""The states of an order, its number, its payment."""

from __future__ import annotations

from decimal import Decimal

import pytest

from contracts.errors import InvalidTransition
from contracts.sales import ORDER_STATES
from services.sales.domain import orders

STEPS = {("draft", "confirmed"), ("draft", "cancelled"), ("confirmed", "fulfilled"), ("confirmed", "cancelled")}


@pytest.mark.parametrize("status", ORDER_STATES)
@pytest.mark.parametrize("to", ORDER_STATES)
def test_an_order_takes_the_steps_of_its_life_and_no_other(status: str, to: str) -> None:
    if (status, to) in STEPS:
        assert orders.move(status, to) == to
        return
    with pytest.raises(InvalidTransition) as caught:
        orders.move(status, to)
    assert caught.value.fields == {"status": status, "allowed": sorted(end for start, end in STEPS if start == status)}


@pytest.mark.parametrize("status", ORDER_STATES)
def test_only_a_draft_may_be_changed(status: str) -> None:
    if status == "draft":
        orders.require_draft(status)
    else:
        with pytest.raises(InvalidTransition):
            orders.require_draft(status)


def test_a_number_is_for_people_and_outgrows_its_zeros() -> None:
    assert orders.number(2026, 123) == "SO-2026-000123"
    assert orders.number(2027, 12345678) == "SO-2027-12345678"


@pytest.mark.parametrize(("paid", "status"), [("0", "unpaid"), ("0.01", "partial"), ("10", "paid"), ("11", "paid")])
def test_payment_follows_from_what_is_paid(paid: str, status: str) -> None:
    assert orders.payment_status(Decimal(10), Decimal(paid)) == status
