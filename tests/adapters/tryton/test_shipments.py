"""What becomes of an order in the ERP comes back: every state told, none missed, none of ours told as news."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub_adapter.failure import AdapterError
from hub_adapter.port import Change, Context, Written
from services.integrations.adapters.tryton import orders
from services.integrations.adapters.tryton.adapter import TrytonAdapter
from tests.support.erp import Erp
from tests.support.records import GOODS, an_order, as_write

Open = Callable[..., Context]


def poll(
    adapter: TrytonAdapter, ctx: Open, checkpoint: str | None, limit: int = 50, **config: Any
) -> tuple[list[Change], str]:
    """All pages of one poll, and the checkpoint to come back with."""
    found: list[Change] = []
    for _ in range(200):
        page = adapter.changes(ctx(**{"overlap_s": 0, **config}), "order", checkpoint, limit)
        found += page.items
        checkpoint = page.next_cursor
        if page.complete:
            assert checkpoint is not None
            return found, checkpoint
    raise AssertionError("the poll never said that it is complete")


@pytest.fixture
def sold(adapter: TrytonAdapter, ctx: Open, party: str) -> Written:
    """An order of 2 Widgets and 10 Gadgets that the ERP has just booked."""
    return adapter.write(ctx(), "order", as_write(an_order(party, lines=GOODS), party=party))


def told_of(sale: str, changes: list[Change]) -> list[Change]:
    return [change for change in changes if change.external_id == sale]


def test_a_shipment_comes_back_with_its_lines_and_the_time_it_left(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, sold: Written
) -> None:
    _, checkpoint = poll(adapter, ctx, None)
    erp.ship(erp.shipments(sold.external_id)[0])
    changes, _ = poll(adapter, ctx, checkpoint)
    body = told_of(sold.external_id, changes)[-1].body
    assert (body["state"], body["shipment_state"], body["invoice_state"]) == ("processing", "sent", "pending")
    (shipment,) = body["shipments"]
    assert shipment["lines"] == [{"sku": "SKU-1001", "quantity": "2"}, {"sku": "SKU-1002", "quantity": "10"}]
    assert (shipment["state"], shipment["done_at"] is not None) == ("done", True)
    assert shipment["number"]


def test_a_partial_shipment_leaves_a_second_one_that_comes_back_too(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, sold: Written
) -> None:
    erp.ship_only(erp.shipments(sold.external_id)[0], 1)
    changes, checkpoint = poll(adapter, ctx, None)
    body = told_of(sold.external_id, changes)[-1].body
    assert body["shipment_state"] == "partially_shipped"
    assert [(one["state"], [line["quantity"] for line in one["lines"]]) for one in body["shipments"]] == [
        ("done", ["1", "1"]),
        ("waiting", ["1", "9"]),
    ]
    erp.ship(erp.shipments(sold.external_id)[1])
    changes, _ = poll(adapter, ctx, checkpoint)
    body = told_of(sold.external_id, changes)[-1].body
    assert (body["shipment_state"], [one["state"] for one in body["shipments"]]) == ("sent", ["done", "done"])


def leave_behind(erp: Erp, sale: str, seconds: int) -> None:
    """Have the ERP killed so long ago, after it committed the end of a shipment and before it told the sale."""
    long_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=seconds)
    erp.alter("UPDATE sale_sale SET shipment_state = 'waiting', write_date = ? WHERE id = ?", long_ago, int(sale))
    for shipment in erp.shipments(sale):
        erp.alter("UPDATE stock_shipment_out SET write_date = ? WHERE id = ?", long_ago, shipment)


def test_a_sale_that_a_killed_erp_left_behind_its_shipments_catches_up(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, sold: Written
) -> None:
    erp.ship(erp.shipments(sold.external_id)[0])
    leave_behind(erp, sold.external_id, 60)
    changes, _ = poll(adapter, ctx, None)
    assert told_of(sold.external_id, changes)[-1].body["shipment_state"] == "waiting"
    changes, _ = poll(adapter, ctx, None)
    body = told_of(sold.external_id, changes)[-1].body
    assert (body["shipment_state"], [one["state"] for one in body["shipments"]]) == ("sent", ["done"])


def test_the_rest_of_a_partial_shipment_that_a_killed_erp_never_planned_is_planned(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, sold: Written
) -> None:
    erp.ship_only(erp.shipments(sold.external_id)[0], 1)
    rest = erp.shipments(sold.external_id)[1]
    erp.alter("DELETE FROM stock_move WHERE shipment = ?", f"stock.shipment.out,{rest}")
    erp.alter("DELETE FROM stock_shipment_out WHERE id = ?", rest)
    leave_behind(erp, sold.external_id, 60)
    for _ in range(2):
        poll(adapter, ctx, None)
    changes, _ = poll(adapter, ctx, None)
    body = told_of(sold.external_id, changes)[-1].body
    assert body["shipment_state"] == "partially_shipped"
    assert [[line["quantity"] for line in one["lines"]] for one in body["shipments"]] == [["1", "1"], ["1", "9"]]


@pytest.mark.parametrize(("seconds", "dry_run"), [(0, False), (60, True)], ids=["still-at-work", "dry-run"])
def test_a_sale_is_not_moved_on(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, sold: Written, seconds: int, dry_run: bool
) -> None:
    erp.ship(erp.shipments(sold.external_id)[0])
    leave_behind(erp, sold.external_id, seconds)
    adapter.changes(ctx(dry_run=dry_run), "order", None, 500)
    (row,) = erp.rows("sale.sale", [["id", "=", int(sold.external_id)]], "shipment_state")
    assert row["shipment_state"] == "waiting"


def test_what_we_wrote_comes_back_under_the_version_that_the_write_told(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, sold: Written
) -> None:
    changes, checkpoint = poll(adapter, ctx, None)
    assert {change.version for change in told_of(sold.external_id, changes)} == {sold.remote_version}
    cancelled = adapter.delete(ctx(), "order", sold.external_id, idempotency_key="k")
    changes, _ = poll(adapter, ctx, checkpoint)
    assert {change.version for change in told_of(sold.external_id, changes)} == {cancelled.remote_version}
    assert told_of(sold.external_id, changes)[-1].body == cancelled.body


def test_a_state_that_comes_again_is_another_version(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, sold: Written
) -> None:
    (shipment,) = erp.shipments(sold.external_id)
    seen = []
    for button in ("assign_try", "wait", "assign_try"):
        erp.ship(shipment, button)
        remote = adapter.get(ctx(), "order", sold.external_id)
        assert remote is not None
        seen.append((remote.body["shipments"][0]["state"], remote.version))
    assert [state for state, _ in seen] == ["assigned", "waiting", "assigned"]
    assert len({version for _, version in seen}) == 3


def test_a_poll_with_an_overlap_tells_the_same_versions_again_and_no_others(
    adapter: TrytonAdapter, ctx: Open, sold: Written
) -> None:
    first, checkpoint = poll(adapter, ctx, None)
    versions = {(change.external_id, change.version) for change in first}
    for _ in range(3):
        again, checkpoint = poll(adapter, ctx, checkpoint, overlap_s=600)
        assert {(change.external_id, change.version) for change in again} <= versions
        assert told_of(sold.external_id, again)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_no_page_size_loses_an_order(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "READ_AT_ONCE", 2)
    _, checkpoint = poll(adapter, ctx, None)
    made = [
        adapter.write(ctx(), "order", as_write(an_order(party, lines=GOODS), party=party)).external_id for _ in range(3)
    ]
    erp.ship(erp.shipments(made[1])[0], "assign_try")
    changes, _ = poll(adapter, ctx, checkpoint, limit)
    assert set(made) <= {change.external_id for change in changes}
    assert told_of(made[1], changes)[-1].body["shipments"][0]["state"] == "assigned"


def test_sales_of_another_shop_are_none_of_ours(adapter: TrytonAdapter, ctx: Open, sold: Written) -> None:
    assert told_of(sold.external_id, poll(adapter, ctx, None)[0])
    assert told_of(sold.external_id, poll(adapter, ctx, None, web_shop=999)[0]) == []


def test_the_list_of_orders_tells_each_as_a_look_up_does(adapter: TrytonAdapter, ctx: Open, sold: Written) -> None:
    remotes = {one.external_id: one for one in adapter.list(ctx(), "order", None, 500).items}
    assert remotes[sold.external_id] == adapter.get(ctx(), "order", sold.external_id)


def test_a_checkpoint_that_is_none_is_refused(adapter: TrytonAdapter, ctx: Open) -> None:
    with pytest.raises(AdapterError, match="not a checkpoint"):
        adapter.changes(ctx(), "order", "12345", 10)
