"""Products, prices and stock come from the ERP: every change once told, none missed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from hub_adapter.failure import AdapterError
from hub_adapter.port import Change, Context
from services.integrations.adapters.tryton.adapter import TrytonAdapter
from tests.support.erp import Erp
from tests.support.records import an_order, as_write

Open = Callable[..., Context]


def poll(adapter: TrytonAdapter, ctx: Open, checkpoint: str | None, limit: int = 50) -> tuple[list[Change], str]:
    """All pages of one poll, and the checkpoint to come back with."""
    found: list[Change] = []
    for _ in range(200):
        page = adapter.changes(ctx(overlap_s=0), "product", checkpoint, limit)
        found += page.items
        checkpoint = page.next_cursor
        if page.complete:
            assert checkpoint is not None
            return found, checkpoint
    raise AssertionError("the poll never said that it is complete")


def make_product(erp: Erp, **changed: Any) -> tuple[str, int]:
    """(code, template id) of a new product that nobody stocks."""
    code = f"T-{uuid.uuid4().hex[:8]}"
    template = {
        "name": "测试品",
        "default_uom": erp.seed["uom"],
        "sale_uom": erp.seed["uom"],
        "type": "goods",
        "salable": True,
        "list_price": {"__class__": "Decimal", "decimal": "1.00"},
        "account_category": 1,
        "products": [["create", [{"suffix_code": code}]]],
        **changed,
    }
    return code, erp.ask("product.template", template)["id"]


def test_the_first_poll_tells_every_product_with_its_price_and_stock(adapter: TrytonAdapter, ctx: Open) -> None:
    changes, _ = poll(adapter, ctx, None)
    by_sku = {change.body["sku"]: change.body for change in changes}
    assert by_sku["SKU-1003"] | {"as_of": ""} == {
        "sku": "SKU-1003",
        "name": "精密螺丝",
        "price": "0.85",
        "currency": "CNY",
        "category": "Goods",
        "active": True,
        "on_hand": "1000000",
        "as_of": "",
    }
    assert by_sku["SKU-0010"]["on_hand"] == "10"


def test_nothing_new_is_told_as_nothing_new(adapter: TrytonAdapter, ctx: Open) -> None:
    first, checkpoint = poll(adapter, ctx, None)
    versions = {(change.external_id, change.version) for change in first}
    second, checkpoint = poll(adapter, ctx, checkpoint)  # the last stamp itself is read again, moves now included
    versions |= {(change.external_id, change.version) for change in second}
    third, _ = poll(adapter, ctx, checkpoint)
    assert {(change.external_id, change.version) for change in third} <= versions


def test_a_new_price_a_new_name_and_a_deactivation_are_found(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    code, template = make_product(erp)
    _, checkpoint = poll(adapter, ctx, None)
    price = {"__class__": "Decimal", "decimal": "2.5"}
    erp.ask(f"product.template/{template}", {"list_price": price, "name": "改名"}, method="PUT")
    changes, checkpoint = poll(adapter, ctx, checkpoint)
    (body,) = [change.body for change in changes if change.body["sku"] == code][-1:]
    assert (body["price"], body["name"], body["active"]) == ("2.50", "改名", True)
    erp.ask(f"product.template/{template}", {"active": False}, method="PUT")
    changes, _ = poll(adapter, ctx, checkpoint)
    assert [change.body["active"] for change in changes if change.body["sku"] == code][-1:] == [False]


def test_a_shipment_shows_as_a_change_of_stock(adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str) -> None:
    _, checkpoint = poll(adapter, ctx, None)
    (before,) = adapter.find(ctx(), "product", {"sku": "SKU-1002"})
    line = {"sku": "SKU-1002", "name": "Gadget", "quantity": "7", "unit_price": "59.90", "tax_code": "VAT13"}
    sale = adapter.write(ctx(), "order", as_write(an_order(party, lines=[line], total=None), party=party)).external_id
    erp.ship(erp.shipments(sale)[0])
    changes, _ = poll(adapter, ctx, checkpoint)
    stock = [change.body["on_hand"] for change in changes if change.body["sku"] == "SKU-1002"]
    assert stock[-1] == str(int(before.body["on_hand"]) - 7)
    versions = {change.version for change in changes if change.body["sku"] == "SKU-1002"}
    assert before.version not in versions
    # Counted by the clock by which the goods left, and after that: what an order held of them may be let go.
    shipped = adapter.get(ctx(), "order", sale)
    assert shipped is not None
    (left_at,) = [shipment["done_at"] for shipment in shipped.body["shipments"]]
    assert [change.body["as_of"] for change in changes if change.body["sku"] == "SKU-1002"][-1] > left_at


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_no_page_size_loses_a_product(adapter: TrytonAdapter, ctx: Open, erp: Erp, limit: int) -> None:
    _, checkpoint = poll(adapter, ctx, None)
    batch = [
        {
            "name": f"批量 {n}",
            "default_uom": erp.seed["uom"],
            "type": "goods",
            "list_price": {"__class__": "Decimal", "decimal": "1"},
            "account_category": 1,
            "products": [["create", [{"suffix_code": f"B-{limit}-{n}-{uuid.uuid4().hex[:6]}"}]]],
        }
        for n in range(12)
    ]
    made = erp.ask("product.template/create", {"vlist": batch})  # one transaction: equal or nearly equal stamps
    changes, _ = poll(adapter, ctx, checkpoint, limit)
    products = erp.rows("product.product", [["template", "in", made]], "code")
    assert {row["code"] for row in products} <= {change.body["sku"] for change in changes}


def test_a_poll_interrupted_between_pages_goes_on_where_it_stopped(adapter: TrytonAdapter, ctx: Open) -> None:
    everything = {change.body["sku"] for change in poll(adapter, ctx, None)[0]}
    page = adapter.changes(ctx(), "product", None, 2)
    assert not page.complete
    rest, _ = poll(adapter, ctx, page.next_cursor, 3)
    assert {change.body["sku"] for change in [*page.items, *rest]} == everything


def test_the_list_of_products_is_complete(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    seen: set[str] = set()
    cursor, complete = None, False
    while not complete:
        page = adapter.list(ctx(), "product", cursor, 3)
        seen |= {remote.external_id for remote in page.items}
        cursor, complete = page.next_cursor, page.complete
    assert seen == {str(row["id"]) for row in erp.rows("product.product", [], "code")}


def test_a_checkpoint_of_another_adapter_is_refused(adapter: TrytonAdapter, ctx: Open) -> None:
    with pytest.raises(AdapterError, match="not a checkpoint"):
        adapter.changes(ctx(), "product", "12345", 10)


def test_what_the_erp_does_not_report_is_refused(adapter: TrytonAdapter, ctx: Open) -> None:
    with pytest.raises(AdapterError, match="no changes"):
        adapter.changes(ctx(), "customer", None, 10)
