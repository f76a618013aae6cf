"""Orders become sales, once each, whatever is lost on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from hub_adapter.failure import AdapterError, DependencyMissing, ErrorClass, InDoubt, Invalid, NotFound, TryLater
from hub_adapter.port import Context, Written
from services.integrations.adapters.tryton import sale as sale_of
from services.integrations.adapters.tryton.adapter import TrytonAdapter
from tests.support.chaos_proxy import ChaosProxy
from tests.support.erp import Erp
from tests.support.records import a_customer, an_order, as_write

Open = Callable[..., Context]
SALE = ("state", "number", "shipments", "invoices", "total_amount")


def sales_of(erp: Erp, order: dict[str, Any]) -> list[dict[str, Any]]:
    return erp.rows("sale.sale", [["web_id", "=", order["id"]]], *SALE)


def assert_booked_once(erp: Erp, order: dict[str, Any]) -> None:
    (sale,) = sales_of(erp, order)
    assert sale["state"] == "processing"
    assert len(sale["shipments"]) == 1
    assert len(sale["invoices"]) == 1


def test_an_order_becomes_a_processing_sale_with_its_total(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str
) -> None:
    order = an_order(party, total="459.34")
    written = adapter.write(ctx(), "order", as_write(order, party=party))
    assert (written.adopted, written.details["state"], written.details["warnings"]) == (False, "processing", [])
    assert written.details["total"] == "459.34"
    assert_booked_once(erp, order)
    remote = adapter.get(ctx(), "order", written.external_id)
    assert remote is not None
    assert (remote.body["id"], remote.body, remote.version) == (order["id"], written.body, written.remote_version)
    (sale,) = erp.rows("sale.sale", [["web_id", "=", order["id"]]], "reference", *sale_of.FIELDS)
    assert sale["reference"] == order["number"]
    assert [(line["sku"], line["quantity"], line["unit_price"]) for line in sale_of.booked(sale)["lines"]] == [
        ("SKU-1001", "2", "199.00"),
        ("SKU-1003", "10", "0.85"),
    ]


def test_the_same_order_twice_is_one_sale(adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str) -> None:
    order = an_order(party)
    first = adapter.write(ctx(), "order", as_write(order, party=party))
    unbound = adapter.write(ctx(), "order", as_write(order, party=party))
    bound = adapter.write(ctx(), "order", as_write(order, first.external_id, party=party))
    assert {first.external_id, unbound.external_id, bound.external_id} == {first.external_id}
    assert (unbound.adopted, bound.adopted) == (True, False)
    assert_booked_once(erp, order)


@pytest.mark.parametrize(
    "step", [b"POST /erp/rest/model/sale.sale HTTP", b"/quote ", b"/confirm "], ids=["create", "quote", "confirm"]
)
def test_a_lost_answer_at_any_step_ends_in_one_sale(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str, step: bytes
) -> None:
    order = an_order(party)
    with ChaosProxy(("127.0.0.1", erp.port)) as link:
        link.lose_answer_to(step)
        with pytest.raises(InDoubt) as lost:
            adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "order", as_write(order, party=party))
        assert link.cut == 1
    assert adapter.classify(lost.value).error_class is ErrorClass.AMBIGUOUS
    found = adapter.find(ctx(), "order", {"id": order["id"]})
    assert len(found) == 1
    written = adapter.write(ctx(), "order", as_write(order, party=party))
    assert (written.adopted, written.external_id) == (True, found[0].external_id)
    assert_booked_once(erp, order)


def test_a_lost_answer_to_a_question_leaves_nothing_in_doubt(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str
) -> None:
    order = an_order(party)
    with ChaosProxy(("127.0.0.1", erp.port)) as link:
        link.lose_answer_to(b"sale.sale/search_read")
        with pytest.raises(TryLater):
            adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "order", as_write(order, party=party))
    assert sales_of(erp, order) == []


def test_four_workers_at_once_make_one_sale(adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str) -> None:
    order = an_order(party)
    outcomes: list[Written | AdapterError] = []

    def work(opened: Context) -> None:
        try:
            outcomes.append(adapter.write(opened, "order", as_write(order, party=party)))
        except AdapterError as error:
            outcomes.append(error)

    workers = [threading.Thread(target=work, args=(ctx(),)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(outcomes) == 4
    for outcome in outcomes:  # a loser may be told to come back; nobody may be told that the order is bad
        assert isinstance(outcome, Written | TryLater), outcome
    adapter.write(ctx(), "order", as_write(order, party=party))
    assert_booked_once(erp, order)


def test_a_draft_left_by_an_earlier_version_is_brought_up_to_date(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str
) -> None:
    order = an_order(party)
    with ChaosProxy(("127.0.0.1", erp.port)) as link:
        link.lose_answer_to(b"POST /erp/rest/model/sale.sale HTTP")
        with pytest.raises(InDoubt):
            adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "order", as_write(order, party=party))
    amended = order | {"lines": [order["lines"][0] | {"quantity": "5"}], "total": "1124.35"}
    written = adapter.write(ctx(), "order", as_write(amended, party=party))
    assert (written.details["total"], written.details["warnings"]) == ("1124.35", [])
    assert_booked_once(erp, order)


def test_an_amendment_that_comes_too_late_is_pointed_out(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str
) -> None:
    order = an_order(party, total=None)
    adapter.write(ctx(), "order", as_write(order, party=party))
    late = order | {"lines": order["lines"][:1], "total": "449.74"}
    warnings = adapter.write(ctx(), "order", as_write(late, party=party)).details["warnings"]
    assert any("lines" in warning for warning in warnings)
    assert any("449.74" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [({"sku": "SKU-NONE"}, "/lines/1/sku"), ({"tax_code": "VAT99"}, "/lines/1/tax_code")],
)
def test_a_line_that_the_erp_cannot_book_is_named_and_nothing_is_made(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str, changed: dict[str, Any], pointer: str
) -> None:
    order = an_order(party)
    order["lines"][1] |= changed
    with pytest.raises(Invalid) as refused:
        adapter.write(ctx(), "order", as_write(order, party=party))
    failure = adapter.classify(refused.value)
    assert (failure.error_class, failure.field) == (ErrorClass.INVALID, pointer)
    assert sales_of(erp, order) == []


def test_an_order_waits_for_its_customer(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    order = an_order("nobody")
    for party in (None, "999999"):  # not bound yet; bound to a party that somebody deleted
        with pytest.raises(DependencyMissing) as missing:
            adapter.write(ctx(), "order", as_write(order, party=party))
        assert missing.value.failure.dependency == "customer"
    assert sales_of(erp, order) == []


def test_a_customer_without_address_can_order_unless_the_settings_forbid_it(
    adapter: TrytonAdapter, ctx: Open, erp: Erp
) -> None:
    party = adapter.write(ctx(), "customer", as_write(a_customer(address=None))).external_id
    order = an_order(party)
    with pytest.raises(Invalid, match="address"):
        adapter.write(ctx(empty_address=False), "order", as_write(order, party=party))
    adapter.write(ctx(), "order", as_write(order, party=party))
    assert_booked_once(erp, order)


def test_an_order_ships_to_its_own_address_without_touching_the_customers(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str
) -> None:
    elsewhere = {"street": "9 Harbour Rd", "city": "深圳", "postal_code": "518000"}
    for _ in range(2):
        order = an_order(party, ship_to=elsewhere)
        adapter.write(ctx(), "order", as_write(order, party=party))
        (sale,) = erp.rows("sale.sale", [["web_id", "=", order["id"]]], "shipment_address.street")
        assert sale["shipment_address."]["street"] == "9 Harbour Rd"
    assert len(erp.rows("party.address", [["party", "=", int(party)]], "street")) == 2
    remote = adapter.get(ctx(), "customer", party)
    assert remote is not None
    assert remote.body["address"]["street"] == "1 Nanjing Rd"


def test_a_sale_cancelled_in_the_erp_is_not_made_anew(adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str) -> None:
    order = an_order(party)
    with ChaosProxy(("127.0.0.1", erp.port)) as link:
        link.lose_answer_to(b"/quote ")
        with pytest.raises(InDoubt):
            adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "order", as_write(order, party=party))
    (sale,) = sales_of(erp, order)
    for _ in range(2):
        assert adapter.delete(ctx(), "order", str(sale["id"]), idempotency_key="k").details["state"] == "cancelled"
    with pytest.raises(Invalid, match="cancelled"):
        adapter.write(ctx(), "order", as_write(order, party=party))
    assert len(sales_of(erp, order)) == 1


def test_a_bound_sale_that_is_gone_is_said_to_be_gone(adapter: TrytonAdapter, ctx: Open, party: str) -> None:
    with pytest.raises(NotFound):
        adapter.write(ctx(), "order", as_write(an_order(party), "999999", party=party))


def test_a_dry_run_of_an_order_makes_nothing_and_still_finds_the_bad_line(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str
) -> None:
    order = an_order(party)
    assert adapter.write(ctx(dry_run=True), "order", as_write(order, party=party)).details["would"] == "create"
    assert sales_of(erp, order) == []
    order["lines"][0] |= {"sku": "SKU-NONE"}
    with pytest.raises(Invalid):
        adapter.write(ctx(dry_run=True), "order", as_write(order, party=party))
