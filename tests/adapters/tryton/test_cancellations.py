"""An order is called off in the ERP as far as its people have not come with it, whatever is lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hub_adapter.failure import ErrorClass, InDoubt, Invalid
from hub_adapter.port import Context
from services.integrations.adapters.tryton.adapter import TrytonAdapter
from tests.support.chaos_proxy import ChaosProxy
from tests.support.erp import Erp
from tests.support.records import GOODS, an_order, as_write

Open = Callable[..., Context]
UNDONE = ("done", "none", "none")


@pytest.fixture
def sale(adapter: TrytonAdapter, ctx: Open, party: str) -> str:
    """The id of a sale that the ERP has just booked."""
    return adapter.write(ctx(), "order", as_write(an_order(party, lines=GOODS), party=party)).external_id


def cancel(adapter: TrytonAdapter, opened: Context, sale: str) -> str:
    return str(adapter.delete(opened, "order", sale, idempotency_key="k").details["state"])


def standing(erp: Erp, sale: str) -> tuple[str, str, str]:
    """(state, shipment_state, invoice_state) of a sale."""
    (row,) = erp.rows("sale.sale", [["id", "=", int(sale)]], "state", "shipment_state", "invoice_state")
    return row["state"], row["shipment_state"], row["invoice_state"]


def papers(erp: Erp, sale: str) -> set[str]:
    """The states of a sale's shipments and invoices."""
    (row,) = erp.rows("sale.sale", [["id", "=", int(sale)]], "shipments.state", "invoices.state")
    return {one["state"] for one in [*row["shipments."], *row["invoices."]]}


@pytest.mark.parametrize("state", ["draft", "quotation", "confirmed"])
def test_a_sale_that_is_not_processed_is_cancelled(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str, state: str
) -> None:
    order = an_order(party)
    with ChaosProxy(("127.0.0.1", erp.port)) as link:
        link.lose_answer_to(b"POST /erp/rest/model/sale.sale HTTP" if state == "draft" else b"/quote ")
        with pytest.raises(InDoubt):
            adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "order", as_write(order, party=party))
    (row,) = erp.rows("sale.sale", [["web_id", "=", order["id"]]], "state")
    if state == "confirmed":  # where a queue's worker is late
        erp.alter("UPDATE sale_sale SET state = ? WHERE id = ?", state, row["id"])
    assert standing(erp, str(row["id"]))[0] == state
    assert cancel(adapter, ctx(), str(row["id"])) == "cancelled"
    assert standing(erp, str(row["id"]))[0] == "cancelled"


@pytest.mark.parametrize("buttons", [(), ("assign_try",)], ids=["waiting", "assigned"])
def test_a_sale_of_which_nothing_is_picked_is_called_off_with_its_papers(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, sale: str, buttons: tuple[str, ...]
) -> None:
    if buttons:
        erp.ship(erp.shipments(sale)[0], *buttons)
    for _ in range(2):  # whoever asks again is told the same
        assert cancel(adapter, ctx(), sale) == "cancelled"
    assert standing(erp, sale) == UNDONE
    assert papers(erp, sale) == {"cancelled"}


STEPS = {
    "the shipment": b"POST /erp/rest/model/stock.shipment.out/",
    "the invoice": b"POST /erp/rest/model/account.invoice/",
    "ignoring the invoice": b"PUT /erp/rest/model/sale.sale/",
    "ignoring the goods": b"PUT /erp/rest/model/sale.line/",
    "the last processing": b"/process ",
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_lost_answer_at_any_step_of_a_cancellation_is_made_good(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, sale: str, step: bytes
) -> None:
    with ChaosProxy(("127.0.0.1", erp.port)) as link:
        link.lose_answer_to(step)
        with pytest.raises(InDoubt) as lost:
            cancel(adapter, ctx(base_url=f"http://127.0.0.1:{link.port}"), sale)
        assert link.cut == 1
    assert adapter.classify(lost.value).error_class is ErrorClass.AMBIGUOUS
    assert cancel(adapter, ctx(), sale) == "cancelled"
    assert standing(erp, sale) == UNDONE
    assert papers(erp, sale) == {"cancelled"}


@pytest.mark.parametrize(
    ("buttons", "says"),
    [
        (("assign_try", "pick"), "is picked in the ERP: somebody has the goods in hand"),
        (("assign_try", "pick", "pack"), "is packed in the ERP: somebody has the goods in hand"),
        (("assign_try", "pick", "pack", "do"), "is done in the ERP: the goods have left. Enter a return there"),
    ],
    ids=["picked", "packed", "done"],
)
def test_goods_in_hand_or_gone_are_left_to_a_person(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, sale: str, buttons: tuple[str, ...], says: str
) -> None:
    erp.ship(erp.shipments(sale)[0], *buttons)
    before = papers(erp, sale)
    with pytest.raises(Invalid, match=says) as refused:
        cancel(adapter, ctx(), sale)
    assert adapter.classify(refused.value).error_class is ErrorClass.INVALID
    assert papers(erp, sale) == before  # all or nothing: the draft invoice stands as well


def test_a_posted_invoice_is_left_to_a_person(adapter: TrytonAdapter, ctx: Open, erp: Erp, sale: str) -> None:
    (row,) = erp.rows("sale.sale", [["id", "=", int(sale)]], "invoices")
    erp.ask(f"account.invoice/{row['invoices'][0]}/post")
    with pytest.raises(Invalid, match=r"invoice .* is posted in the ERP: credit it there"):
        cancel(adapter, ctx(), sale)
    assert standing(erp, sale)[:2] == ("processing", "waiting")


def test_a_sale_called_off_is_not_brought_back_by_its_order(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str
) -> None:
    order: dict[str, Any] = an_order(party)
    sale = adapter.write(ctx(), "order", as_write(order, party=party)).external_id
    cancel(adapter, ctx(), sale)
    for external_id in (sale, None):
        with pytest.raises(Invalid, match="was cancelled in the ERP"):
            adapter.write(ctx(), "order", as_write(order, external_id, party=party))
    assert standing(erp, sale) == UNDONE


def test_a_dry_run_of_a_cancellation_cancels_nothing(adapter: TrytonAdapter, ctx: Open, erp: Erp, sale: str) -> None:
    assert cancel(adapter, ctx(dry_run=True), sale) == "processing"
    assert standing(erp, sale)[0] == "processing"


def test_a_sale_that_is_gone_needs_no_cancelling(adapter: TrytonAdapter, ctx: Open) -> None:
    assert cancel(adapter, ctx(), "999999") == "gone"
