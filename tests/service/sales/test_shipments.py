"""What the ERP ships of orders: noted once, in whatever order and however often it is told, and stock counted once."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import Any

import pytest

from chassis.database import new_id
from contracts import errors
from contracts import sales as contract
from contracts.envelope import Envelope
from tests.service.sales.selling import ERP, MIDNIGHT, Selling, product_told, sale_told, shipment

rules_alone = pytest.mark.parametrize("premises", ["sqlite"], indirect=True)
"""For what no database has a say in."""


def shuffled(envelopes: list[Envelope], seed: int, times: int = 5) -> list[Envelope]:
    """Return every event `times` times, in an order that the seed repeats."""
    repeated = envelopes * times
    random.Random(seed).shuffle(repeated)
    return repeated


@pytest.fixture
def order(hub: Selling) -> dict[str, Any]:
    """A confirmed order of 4 of A-1, of which there are 10, and 2 of B-1, of which there are 5."""
    hub.hear(product_told("A-1", on_hand="10"), product_told("B-1", on_hand="5"))
    return hub.confirm(hub.draft(hub.customer(), ("A-1", "4"), ("B-1", "2")))


def seen(hub: Selling, order: dict[str, Any]) -> dict[str, Any]:
    """Return the order as a person reads it."""
    found: dict[str, Any] = hub.call(contract.GET_ORDER, {"id": order["id"]})
    return found


def stock(hub: Selling, sku: str = "A-1") -> tuple[int, int]:
    """Return (reserved, available) of a product, and hold that its reservations add up."""
    product = hub.product(sku)
    held = sum(one.quantity for one in hub.reservations() if one.product_id == product.id)
    assert product.reserved == held
    assert product.available is not None
    return int(product.reserved), int(product.available)


def refusals(hub: Selling) -> list[tuple[str, str | None]]:
    """Return (code, order) of each refusal that was announced."""
    return [(one["data"]["code"], one["data"]["local_id"]) for one in hub.announced("external.refused")]


def test_an_order_of_which_all_is_shipped_is_fulfilled_and_that_is_announced_once(
    hub: Selling, order: dict[str, Any]
) -> None:
    hub.hear(sale_told(order["id"], 1, shipment("1", A_1="4", B_1="2")))
    waiting = seen(hub, order)
    assert (waiting["status"], waiting["shipments"][0]["state"]) == ("confirmed", "waiting")
    hub.hear(sale_told(order["id"], 2, shipment("1", minute=30, A_1="4", B_1="2")))
    fulfilled = seen(hub, order)
    assert (fulfilled["status"], fulfilled["fulfilled_at"] is not None) == ("fulfilled", True)
    assert fulfilled["shipments"] == [
        {"external_id": "1", "number": "S-1", "state": "done", "done_at": MIDNIGHT.replace(minute=30),
         "lines": [{"sku": "A-1", "quantity": 4}, {"sku": "B-1", "quantity": 2}]}]
    [told] = hub.announced("order.fulfilled")
    assert (told["subject"], told["entityversion"], told["origin"]) == (order["id"], fulfilled["version"], ERP)
    assert (told["data"]["status"], len(told["data"]["lines"]), len(told["data"]["shipments"])) == ("fulfilled", 2, 1)
    with pytest.raises(errors.InvalidTransition):
        hub.call(contract.CANCEL_ORDER, {"id": order["id"], "reason": "too late"})


def test_a_partial_shipment_shows_on_the_order_and_the_rest_stays_promised(
    hub: Selling, order: dict[str, Any]
) -> None:
    first, rest = shipment("1", minute=30, A_1="1"), shipment("2", A_1="3", B_1="2")
    hub.hear(sale_told(order["id"], 1, first, rest))
    partial = seen(hub, order)
    assert (partial["status"], [one["state"] for one in partial["shipments"]]) == ("confirmed", ["done", "waiting"])
    assert stock(hub) == (4, 6)
    hub.hear(product_told("A-1", minute=40, on_hand="9"))
    assert stock(hub) == (3, 6)
    hub.hear(sale_told(order["id"], 2, first, shipment("2", minute=50, A_1="3", B_1="2")))
    assert (seen(hub, order)["status"], stock(hub)) == ("fulfilled", (3, 6))
    hub.hear(product_told("A-1", minute=60, on_hand="6"), product_told("B-1", minute=60, on_hand="3"))
    assert (stock(hub), stock(hub, "B-1")) == ((0, 6), (0, 3))


def test_a_line_that_the_warehouse_left_out_or_told_too_finely_stops_no_order(
    hub: Selling, order: dict[str, Any]
) -> None:
    hub.hear(sale_told(order["id"], 1, shipment("1", minute=30, A_1="3.99999", B_1="0"), shipment("2", B_1="2")))
    partial = seen(hub, order)
    assert [one["lines"] for one in partial["shipments"]] == [
        [{"sku": "A-1", "quantity": Decimal("3.9999")}], [{"sku": "B-1", "quantity": 2}]]
    hub.hear(product_told("A-1", minute=40, on_hand="6.0001"))
    assert hub.product("A-1").reserved == Decimal("0.0001")
    assert stock(hub, "B-1") == (2, 3)


def test_goods_that_a_count_knows_to_have_left_are_not_subtracted_twice_though_told_later(
    hub: Selling, order: dict[str, Any]
) -> None:
    hub.hear(product_told("A-1", minute=40, on_hand="6"))
    assert stock(hub) == (4, 2)
    hub.hear(sale_told(order["id"], 1, shipment("1", minute=30, A_1="4", B_1="2")))
    assert (stock(hub), stock(hub, "B-1")) == ((0, 6), (2, 3))
    told = [one["data"] for one in hub.announced("stock.updated") if one["data"]["sku"] == "A-1"]
    assert [one["available"] for one in told] == ["10", "2", "6"]


def test_a_count_made_before_the_goods_left_ends_nothing(hub: Selling, order: dict[str, Any]) -> None:
    hub.hear(sale_told(order["id"], 1, shipment("1", minute=30, A_1="4", B_1="2")))
    hub.hear(product_told("A-1", minute=29, on_hand="10"))
    assert stock(hub) == (4, 6)
    hub.hear(product_told("A-1", minute=31, on_hand="6"))
    assert stock(hub) == (0, 6)


@pytest.mark.parametrize("seed", range(2))
def test_a_whole_story_told_five_times_and_shuffled_ends_as_its_last_word(
    hub: Selling, order: dict[str, Any], seed: int
) -> None:
    story = [
        sale_told(order["id"], 1, shipment("1", A_1="4", B_1="2")),
        sale_told(order["id"], 2, shipment("1", "assigned", A_1="4", B_1="2")),
        sale_told(order["id"], 3, shipment("1", minute=10, A_1="1", B_1="2"), shipment("2", A_1="3")),
        product_told("A-1", minute=15, on_hand="9"),
        product_told("B-1", minute=15, on_hand="3"),
        sale_told(order["id"], 4, shipment("1", minute=10, A_1="1", B_1="2"), shipment("2", "picked", A_1="3")),
        sale_told(order["id"], 5, shipment("1", minute=10, A_1="1", B_1="2"), shipment("2", minute=20, A_1="3")),
        product_told("A-1", minute=25, on_hand="6"),
    ]
    hub.hear(*shuffled(story, seed))
    ended = seen(hub, order)
    assert (ended["status"], [one["state"] for one in ended["shipments"]]) == ("fulfilled", ["done", "done"])
    assert (stock(hub), stock(hub, "B-1")) == ((0, 6), (0, 3))
    assert len(hub.announced("order.fulfilled")) == 1
    assert refusals(hub) == []


def test_what_has_left_stays_as_it_was_told_first(hub: Selling, order: dict[str, Any]) -> None:
    hub.hear(sale_told(order["id"], 1, shipment("1", minute=30, A_1="1"), shipment("2", A_1="3", B_1="2")))
    version = seen(hub, order)["version"]
    hub.hear(sale_told(order["id"], 2, shipment("1", minute=300, A_1="9"), shipment("2", A_1="3", B_1="2")))
    again = seen(hub, order)
    assert (again["version"], again["shipments"][0]["done_at"]) == (version, MIDNIGHT.replace(minute=30))
    hub.hear(sale_told(order["id"], 3, shipment("3", A_1="3", B_1="2")))
    assert [one["external_id"] for one in seen(hub, order)["shipments"]] == ["1", "3"]


@rules_alone
def test_no_clock_of_the_hub_decides_what_has_left(
    hub: Selling, order: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    for module in ("shipments", "reservations", "products"):
        monkeypatch.setattr(f"services.sales.operations.{module}.utcnow", lambda: stepped)
    hub.hear(sale_told(order["id"], 1, shipment("1", minute=30, A_1="1", B_1="2"), shipment("2", A_1="3")))
    hub.hear(product_told("A-1", minute=40, on_hand="9"))
    assert stock(hub) == (3, 6)
    monkeypatch.undo()
    hub.hear(sale_told(order["id"], 2, shipment("1", minute=30, A_1="1", B_1="2"), shipment("2", minute=45, A_1="3")))
    assert (seen(hub, order)["status"], stock(hub)) == ("fulfilled", (3, 6))


@rules_alone
def test_the_erps_clock_stepped_back_delays_the_end_of_a_promise_and_loses_none(
    hub: Selling, order: dict[str, Any]
) -> None:
    hub.hear(sale_told(order["id"], 1, shipment("1", minute=60, A_1="4", B_1="2")))
    hub.hear(product_told("A-1", minute=5, version=9, on_hand="6"))
    assert stock(hub) == (4, 2)  # sells too little, never too much
    hub.hear(product_told("A-1", minute=70, version=10, on_hand="6"))
    assert stock(hub) == (0, 6)


def test_goods_of_an_order_that_was_cancelled_here_are_noted_and_refused(hub: Selling, order: dict[str, Any]) -> None:
    hub.call(contract.CANCEL_ORDER, {"id": order["id"], "reason": "changed their mind"})
    hub.hear(sale_told(order["id"], 1, shipment("1", "assigned", A_1="4", B_1="2")))
    assert refusals(hub) == []
    hub.hear(*shuffled([sale_told(order["id"], 2, shipment("1", minute=30, A_1="4", B_1="2"))], 0))
    noted = seen(hub, order)
    assert (noted["status"], noted["shipments"][0]["state"]) == ("cancelled", "done")
    assert refusals(hub) == [("shipped_after_cancelling", order["id"])]
    [told] = hub.announced("external.refused")
    assert (told["data"]["connection_id"], told["data"]["entity"], told["data"]["external_id"]) == (ERP, "order", "7")
    assert "SALE-7 has been shipped (S-1)" in told["data"]["reason"]
    assert stock(hub) == (0, 10)
    assert hub.announced("order.fulfilled") == []


@rules_alone
@pytest.mark.parametrize("gone", [{"state": "cancelled", "shipment_state": "none"}, {"deleted": True}],
                         ids=["cancelled", "deleted"])
def test_a_sale_that_the_erp_called_off_leaves_the_order_confirmed_and_is_refused(
    hub: Selling, order: dict[str, Any], gone: dict[str, Any]
) -> None:
    hub.hear(sale_told(order["id"], 1, shipment("1", A_1="4", B_1="2")))
    hub.hear(sale_told(order["id"], 2, shipment("1", "cancelled", A_1="4", B_1="2"), **gone))
    assert (seen(hub, order)["status"], stock(hub)) == ("confirmed", (4, 6))
    assert refusals(hub) == [("cancelled_there", order["id"])]
    hub.call(contract.CANCEL_ORDER, {"id": order["id"], "reason": "as there"})
    assert stock(hub) == (0, 10)


@rules_alone
def test_a_sale_that_both_sides_called_off_is_no_matter(hub: Selling, order: dict[str, Any]) -> None:
    hub.call(contract.CANCEL_ORDER, {"id": order["id"], "reason": "x"})
    hub.hear(sale_told(order["id"], 1, shipment("1", "cancelled", A_1="4"), state="cancelled", shipment_state="none"))
    assert (seen(hub, order)["status"], refusals(hub)) == ("cancelled", [])


def test_an_order_of_which_goods_have_left_is_not_cancelled_here(hub: Selling, order: dict[str, Any]) -> None:
    hub.hear(sale_told(order["id"], 1, shipment("1", minute=30, A_1="1"), shipment("2", A_1="3", B_1="2")))
    with pytest.raises(errors.InvalidTransition, match="have left"):
        hub.call(contract.CANCEL_ORDER, {"id": order["id"], "reason": "x"})
    # Colleagues call the rest off there: then all that was to leave has left.
    rest = shipment("2", "cancelled", A_1="3", B_1="2")
    hub.hear(sale_told(order["id"], 2, shipment("1", minute=30, A_1="1"), rest))
    hub.hear(product_told("A-1", minute=40, on_hand="9"))
    assert (seen(hub, order)["status"], stock(hub), stock(hub, "B-1")) == ("fulfilled", (0, 9), (0, 5))


@rules_alone
def test_an_order_is_not_fulfilled_while_the_erp_waits_for_a_person(hub: Selling, order: dict[str, Any]) -> None:
    parts = shipment("1", minute=30, A_1="1"), shipment("2", "cancelled", A_1="3", B_1="2")
    hub.hear(sale_told(order["id"], 1, *parts, shipment_state="exception"))
    assert seen(hub, order)["status"] == "confirmed"


@rules_alone
def test_an_order_of_services_is_fulfilled_when_nothing_more_will_happen_there(hub: Selling) -> None:
    hub.hear(product_told("ADVICE", on_hand=None))
    order = hub.confirm(hub.draft(hub.customer(), ("ADVICE", "3")))
    hub.hear(sale_told(order["id"], 1, shipment_state="none"))
    assert seen(hub, order)["status"] == "confirmed"
    hub.hear(sale_told(order["id"], 2, state="done", shipment_state="none", invoice_state="paid"))
    assert (seen(hub, order)["status"], hub.reservations()) == ("fulfilled", [])


@rules_alone
@pytest.mark.parametrize("order_id", [None, new_id(), "typed in by hand"], ids=["none", "strange", "no id"])
def test_a_sale_of_nobodys_order_is_refused_and_parks_nothing(hub: Selling, order_id: str | None) -> None:
    stray = sale_told(None, 1, shipment("1", A_1="1"), sale="99", id=order_id)
    hub.hear(*shuffled([stray], 0))
    assert refusals(hub) == [("unknown_order", None)]
    hub.hear(sale_told(None, 2, sale="99", state="cancelled", shipment_state="none"))
    assert refusals(hub) == [("unknown_order", None)]


@rules_alone
def test_a_sale_that_is_not_bound_yet_is_known_by_the_id_that_the_erp_keeps(
    hub: Selling, order: dict[str, Any]
) -> None:
    hub.hear(sale_told(None, 1, shipment("1", minute=30, A_1="4", B_1="2"), id=order["id"]))
    assert seen(hub, order)["status"] == "fulfilled"


@rules_alone
def test_what_colleagues_add_or_ship_beyond_the_order_moves_no_other_stock(
    hub: Selling, order: dict[str, Any]
) -> None:
    hub.hear(product_told("C-1", on_hand="7"))
    hub.hear(sale_told(order["id"], 1, shipment("1", minute=30, A_1="9", B_1="2", C_1="1", X_9="1")))
    hub.hear(product_told("A-1", minute=40, on_hand="1"))
    assert (stock(hub), stock(hub, "C-1"), seen(hub, order)["status"]) == ((0, 1), (0, 7), "fulfilled")


def test_one_shipment_of_two_orders_counts_for_each(hub: Selling, order: dict[str, Any]) -> None:
    other = hub.confirm(hub.draft(hub.customer(), ("A-1", "1")))
    hub.hear(sale_told(order["id"], 1, shipment("1", minute=30, A_1="4", B_1="2")),
             sale_told(other["id"], 1, shipment("1", minute=30, A_1="1"), sale="8"))
    assert {seen(hub, one)["status"] for one in (order, other)} == {"fulfilled"}
    hub.hear(product_told("A-1", minute=40, on_hand="5"))
    assert stock(hub) == (0, 5)


@rules_alone
def test_an_order_that_is_just_confirmed_has_no_shipments(hub: Selling, order: dict[str, Any]) -> None:
    assert order["shipments"] == []
    [confirmed] = hub.announced("order.confirmed")
    assert (confirmed["schemaversion"], confirmed["data"]["shipments"]) == (2, [])
