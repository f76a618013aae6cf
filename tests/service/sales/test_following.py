"""Following customers and the ERP's products, whatever order their events come in and however often."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import Any

import pytest

from chassis import snapshot
from chassis.context import Subject
from chassis.database import new_id
from contracts import customers, errors
from contracts import sales as contract
from tests.service.sales.selling import MIDNIGHT, Selling, customer_told, product_told
from tests.support.processes import eventually


def shuffled(envelopes: list[Any], times: int = 5) -> list[Any]:
    """Return every event `times` times, in an order that a seed repeats."""
    repeated = envelopes * times
    random.Random(7).shuffle(repeated)
    return repeated


def test_customers_told_in_any_order_and_five_times_are_as_the_newest_event_says(hub: Selling) -> None:
    ids = [new_id() for _ in range(4)]
    owners = {(id, version): new_id() for id in ids for version in range(1, 8)}
    kinds = [customers.CUSTOMER_CREATED, *[customers.CUSTOMER_UPDATED] * 5, customers.CUSTOMER_SNAPSHOT]
    events = [customer_told(id, version, kinds[version - 1], owner_id=owners[id, version]) for id, version in owners]
    hub.hear(*shuffled(events))
    for id in ids:
        ref = hub.customer_ref(id)
        assert ref is not None
        assert (ref.version, ref.name, ref.owner_id) == (7, "v7", owners[id, 7])


def test_a_stale_customer_event_changes_nothing(hub: Selling) -> None:
    customer = new_id()
    hub.hear(customer_told(customer, 3, customers.CUSTOMER_UPDATED))
    hub.hear(customer_told(customer, 2, customers.CUSTOMER_UPDATED), customer_told(customer, 1))
    ref = hub.customer_ref(customer)
    assert ref is not None
    assert (ref.version, ref.name) == (3, "v3")


def test_a_new_owner_of_a_customer_reaches_its_orders_and_the_old_one_no_longer(hub: Selling) -> None:
    old, new = (Subject(id=new_id(), kind="user", name="rep", depths={"order": {"*": "own"}}) for _ in range(2))
    customer = new_id()
    hub.hear(product_told("A-1"), customer_told(customer, owner_id=old.id))
    order = hub.draft(customer, ("A-1", "1"))
    assert hub.call(contract.GET_ORDER, {"id": order["id"]}, subject=old)
    hub.hear(customer_told(customer, 2, customers.CUSTOMER_UPDATED, owner_id=new.id))
    assert hub.call(contract.GET_ORDER, {"id": order["id"]}, subject=new)
    with pytest.raises(errors.NotFound):
        hub.call(contract.GET_ORDER, {"id": order["id"]}, subject=old)


def test_a_product_told_in_any_order_and_five_times_is_as_the_latest_count_says(hub: Selling) -> None:
    events = [product_told("A-1", minute=n, on_hand=str(100 + n), price=f"{n}.50") for n in range(12)]
    hub.hear(*shuffled(events))
    product = hub.product("A-1")
    assert (product.on_hand, product.price, product.stock_at) == (111, Decimal("11.50"), MIDNIGHT.replace(minute=11))
    counts = [event["data"] for event in hub.announced("stock.updated")]
    assert counts[-1]["available"] == "111"
    assert [one["as_of"] for one in counts] == sorted(one["as_of"] for one in counts)
    assert {one["origin"] for one in hub.announced("stock.updated")} == {events[0].data["connection_id"]}


def test_a_clock_stepped_back_an_hour_neither_stops_the_news_of_a_product_nor_brings_old_news_back(
    hub: Selling
) -> None:
    minutes = [*range(6), *range(-54, -48)]
    hub.hear(*[product_told("A-1", minute, version=n, on_hand=str(100 + n)) for n, minute in enumerate(minutes, 1)])
    assert (hub.product("A-1").on_hand, hub.product("A-1").stock_at) == (112, MIDNIGHT - dt.timedelta(minutes=49))
    assert [event["data"]["available"] for event in hub.announced("stock.updated")][-1] == "112"

    hub.hear(*shuffled([product_told("B-1", minute, version=n, on_hand=str(100 + n))
                        for n, minute in enumerate(minutes, 1)], times=2))
    hub.hear(product_told("B-1", 600, version=11, on_hand="0"))
    assert (hub.product("B-1").on_hand, hub.product("B-1").active) == (112, True)


def test_what_a_record_was_before_it_was_deleted_does_not_bring_its_product_back(hub: Selling) -> None:
    hub.hear(product_told("A-1", external_id="7"))
    hub.hear(product_told("A-1", 1, external_id="7", deleted=True))
    hub.hear(product_told("A-1", 5, version=1, external_id="7"))
    assert hub.product("A-1").active is False
    hub.hear(product_told("B-1", external_id="8", version=2, deleted=True))
    hub.hear(product_told("B-1", 5, external_id="8", version=1))
    assert hub.call(contract.LIST_PRODUCTS, {"sku": "B-1"})["items"] == []


def test_what_a_record_was_before_it_got_its_sku_does_not_bring_the_former_one_back(hub: Selling) -> None:
    hub.hear(product_told("NEW", external_id="7", version=2))
    hub.hear(product_told("OLD", 5, external_id="7", version=1))
    assert [one["sku"] for one in hub.call(contract.LIST_PRODUCTS)["items"]] == ["NEW"]


@pytest.mark.parametrize("seed", range(3))
def test_of_records_with_one_sku_the_one_that_is_sold_counts_in_whatever_order_they_are_told(
    hub: Selling, seed: int
) -> None:
    events = [product_told("A-1", 0, external_id="3", on_hand="3"),
              product_told("A-1", 1, external_id="3", on_hand="3", active=False),
              product_told("A-1", 0, external_id="7", on_hand="7"),
              product_told("A-1", 1, external_id="7", on_hand="8"),
              product_told("A-1", 9, version=1, external_id="12", on_hand="12"),
              product_told("B-1", 2, external_id="20", on_hand="20"),
              product_told("A-1", 1, external_id="20", on_hand="21")] * 2
    random.Random(seed).shuffle(events)
    hub.hear(*events)
    told = {sku: hub.product(sku) for sku in ("A-1", "B-1")}
    assert {sku: (one.external_id, one.on_hand, one.active) for sku, one in told.items()} == {
        "A-1": ("7", 8, True), "B-1": ("20", 20, True)}


def test_when_the_record_that_is_sold_goes_another_of_its_sku_takes_its_place(hub: Selling) -> None:
    hub.hear(product_told("A-1", external_id="7", on_hand="7"), product_told("A-1", external_id="9", on_hand="9"))
    assert hub.product("A-1").on_hand == 7
    hub.hear(product_told("A-1", 1, external_id="7", deleted=True))
    assert (hub.product("A-1").on_hand, hub.product("A-1").external_id, hub.product("A-1").active) == (9, "9", True)


def test_a_count_that_says_the_same_is_not_announced_again(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    hub.hear(product_told("A-1", minute=1, name="Renamed"))
    assert [event["data"]["available"] for event in hub.announced("stock.updated")] == ["10"]
    assert hub.product("A-1").name == "Renamed"


def test_a_record_with_a_new_sku_leaves_its_former_product_unsold(hub: Selling) -> None:
    hub.hear(product_told("OLD", external_id="7"))
    hub.hear(product_told("NEW", minute=1, external_id="7"))
    assert (hub.product("OLD").active, hub.product("NEW").active) == (False, True)


def test_a_retired_record_with_the_same_sku_does_not_retire_the_one_that_is_sold(hub: Selling) -> None:
    hub.hear(product_told("A-1", external_id="7"))
    hub.hear(product_told("A-1", minute=1, external_id="3", active=False, on_hand="0"))
    assert (hub.product("A-1").active, hub.product("A-1").on_hand) == (True, 10)
    hub.hear(product_told("A-1", minute=2, external_id="7", active=False))
    assert hub.product("A-1").active is False


def test_a_deleted_record_is_not_sold_any_more_but_stays_for_its_orders(hub: Selling) -> None:
    hub.hear(product_told("A-1", external_id="7"))
    order = hub.draft(hub.customer(), ("A-1", "1"))
    hub.hear(product_told("A-1", minute=1, external_id="7", deleted=True))
    assert hub.product("A-1").active is False
    assert hub.call(contract.GET_ORDER, {"id": order["id"]})["lines"][0]["sku"] == "A-1"


def test_a_count_with_more_decimals_than_we_keep_is_rounded_down(hub: Selling) -> None:
    hub.hear(product_told("A-1", on_hand="1.33339999", price="0.12345"))
    assert (hub.product("A-1").on_hand, hub.product("A-1").price) == (Decimal("1.3333"), Decimal("0.1235"))


def test_what_else_a_target_owns_is_not_ours_and_a_product_without_sku_is_parked(hub: Selling) -> None:
    invoice = product_told("X")
    assert isinstance(invoice.data, dict)
    invoice.data["entity"] = "invoice"
    hub.hear(invoice)
    hub.publish([product_told("", external_id="9")])
    hub.hear(product_told("A-1"))
    assert [one["sku"] for one in hub.call(contract.LIST_PRODUCTS)["items"]] == ["A-1"]


def test_products_are_listed_by_sku_name_and_whether_they_are_sold(hub: Selling) -> None:
    hub.hear(product_told("B-2", name="钢笔 Pen"), product_told("a-1", name="Ink"), product_told("Z-9", active=False))

    def listed(**filters: Any) -> list[str]:
        return [one["sku"] for one in hub.call(contract.LIST_PRODUCTS, filters)["items"]]

    assert listed() == ["B-2", "Z-9", "a-1"]
    assert listed(sort="name") == ["a-1", "Z-9", "B-2"]
    assert (listed(q="b-"), listed(q="钢"), listed(q="A")) == (["B-2"], ["B-2"], ["a-1"])
    assert (listed(sku="a-1"), listed(active=False)) == (["a-1"], ["Z-9"])
    page = hub.call(contract.LIST_PRODUCTS, {"limit": 2})
    assert [one["sku"] for one in hub.call(contract.LIST_PRODUCTS, {"limit": 2, "cursor": page["next"]})["items"]] == [
        "a-1"]
    one = hub.call(contract.LIST_PRODUCTS, {"sku": "B-2"})["items"][0]
    assert hub.call(contract.GET_PRODUCT, {"id": one["id"]}) == one
    with pytest.raises(errors.NotFound):
        hub.call(contract.GET_PRODUCT, {"id": new_id()})


def test_a_snapshot_tells_the_orders_that_were_announced_and_no_draft(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    customer = hub.customer()
    draft, confirmed, cancelled = (hub.draft(customer, ("A-1", "1")) for _ in range(3))
    hub.confirm(confirmed)
    hub.confirm(cancelled)
    hub.call(contract.CANCEL_ORDER, {"id": cancelled["id"], "reason": "x"})
    with hub.db.write() as session:
        snapshot.request(session, "order")
    eventually(lambda: len(hub.announced("order.snapshot")) == 2)
    retold = {event["subject"]: event["data"] for event in hub.announced("order.snapshot")}
    assert set(retold) == {confirmed["id"], cancelled["id"]} - {draft["id"]}
    assert (retold[cancelled["id"]]["status"], len(retold[confirmed["id"]]["lines"])) == ("cancelled", 1)


def test_a_customer_created_next_door_can_order_within_moments(hub: Selling) -> None:
    hub.rooms.start("customers")
    hub.hear(product_told("A-1"))
    made = hub.call(customers.CREATE_CUSTOMER, {"name": "李雷", "wechat_id": "lilei"})
    asked = {"customer_id": made["id"], "currency": "CNY", "lines": [{"sku": "A-1", "quantity": "1"}]}

    def orders() -> bool:
        try:
            return bool(hub.call(contract.CREATE_ORDER, asked))
        except errors.CustomerNotKnown:
            return False

    eventually(orders, 5)
    ref = hub.customer_ref(made["id"])
    assert ref is not None
    assert (ref.name, ref.version, ref.owner_id) == ("李雷", 1, made["owner_id"])
