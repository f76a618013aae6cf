"""What happens to an order in the ERP comes back to the hub, and what the hub calls off is called off there."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from hub.demo.connection import API
from hub.demo.door import Door, wait_for
from hub.demo.order import OrderJob, processed
from tests.support.erp import Erp
from tests.support.local_hub import LocalHub

SKU = "SKU-1002"


def until(what: str, condition: Callable[[], Any]) -> Any:
    """Wait for what a condition finds."""
    return wait_for(what, lambda: condition() or None)


class Trade:
    """A hub that sells, and the warehouse of its ERP."""

    def __init__(self, hub: LocalHub) -> None:
        self.door: Door = hub.door()
        self._read = hub.erp()
        job = OrderJob(self.door, self._read, hub.colleague(), lambda _: None)
        connection = job.connect()
        job.pull_products(connection)
        self.connection = connection.id
        state = hub.home / "sandbox" / "tryton"
        self.erp = Erp(int(hub.erp().url.rpartition(":")[2]), json.loads((state / "seed.json").read_text()), state)

    def order(self, quantity: int) -> tuple[str, str]:
        """Order so many of a product; return our id, and the sale's once the ERP has booked it."""
        name = f"往返 {uuid.uuid4().hex[:6]}"
        customer = self.door.post(f"{API}/customers", {"name": name, "wechat_id": name, "address": {"city": "上海"}})
        lines = [{"sku": SKU, "quantity": str(quantity)}]
        body = {"customer_id": customer["id"], "currency": "CNY", "lines": lines}
        order = self.door.post(f"{API}/orders", body)
        self.door.post(f"{API}/orders/{order['id']}/confirm")
        sale = wait_for("the order's arrival in the ERP", lambda: processed(self._read, order["id"]))
        until("its settlement", lambda: self.settled(order["id"]))
        return order["id"], str(sale.id)

    def read(self, order_id: str) -> dict[str, Any]:
        """The order as a person reads it."""
        found: dict[str, Any] = self.door.get(f"{API}/orders/{order_id}")
        return found

    def deliveries(self, order_id: str) -> list[dict[str, Any]]:
        """What went to the ERP of an order, newest first."""
        found: list[dict[str, Any]] = self.door.get(f"{API}/deliveries", local_id=order_id)["items"]
        return found

    def settled(self, order_id: str) -> bool:
        """Whether nothing of an order is on its way."""
        return all(one["settled_at"] for one in self.deliveries(order_id))

    def pull(self) -> None:
        """Do what the clock does every minute."""
        self.door.post(f"{API}/connections/{self.connection}/pull")

    def pulled_until(self, what: str, condition: Callable[[], Any]) -> Any:
        """Pull, and wait for what comes of it."""
        self.pull()
        return until(what, condition)

    def conflict(self, order_id: str) -> dict[str, Any] | None:
        """The open conflict about an order."""
        found = self.door.get(f"{API}/conflicts", local_id=order_id, state="open")["items"]
        return found[0] if found else None

    def stock(self) -> dict[str, Any]:
        """The product that all this is about."""
        found: dict[str, Any] = self.door.get(f"{API}/products", sku=SKU)["items"][0]
        return found

    def cancel(self, order_id: str) -> dict[str, Any]:
        """Cancel an order in the hub."""
        answer: dict[str, Any] = self.door.post(f"{API}/orders/{order_id}/cancel", {"reason": "变更"})
        return answer


@pytest.fixture(scope="module")
def trade(whole_hub: LocalHub) -> Trade:
    return Trade(whole_hub)


def test_an_order_shipped_in_two_parts_comes_back_part_by_part_and_its_stock_is_counted_once(trade: Trade) -> None:
    before = int(trade.stock()["available"])
    order, sale = trade.order(5)
    assert int(trade.stock()["available"]) == before - 5
    held = int(trade.stock()["reserved"])
    trade.erp.ship_only(trade.erp.shipments(sale)[0], 2)
    partial = trade.pulled_until("the first part", lambda: _with(trade.read(order), "confirmed", "done", "waiting"))
    assert [line["quantity"] for one in partial["shipments"] for line in one["lines"]] == ["2", "3"]
    trade.erp.ship(trade.erp.shipments(sale)[1])
    fulfilled = trade.pulled_until("the rest", lambda: _with(trade.read(order), "fulfilled", "done", "done"))
    assert fulfilled["fulfilled_at"]
    # The ERP counts five less, and nothing of them is promised any more.
    counted = trade.pulled_until("the count", lambda: _with_reserved(trade.stock(), held - 5))
    assert int(counted["available"]) == before - 5
    assert [one["state"] for one in trade.deliveries(order)] == ["delivered"]


def _with_reserved(product: dict[str, Any], reserved: int) -> dict[str, Any] | None:
    return product if int(product["reserved"]) == reserved else None


def _with(order: dict[str, Any], status: str, *shipments: str) -> dict[str, Any] | None:
    return order if (order["status"], *(one["state"] for one in order["shipments"])) == (status, *shipments) else None


def test_an_order_cancelled_here_before_anybody_picked_it_is_called_off_there(trade: Trade) -> None:
    order, sale = trade.order(1)
    trade.cancel(order)
    until("the cancellation's settlement", lambda: len(trade.deliveries(order)) == 2 and trade.settled(order))
    assert [one["state"] for one in trade.deliveries(order)] == ["delivered", "delivered"]
    (row,) = trade.erp.rows("sale.sale", [["id", "=", int(sale)]], "state", "shipment_state", "invoice_state")
    assert (row["state"], row["shipment_state"], row["invoice_state"]) == ("done", "none", "none")
    assert trade.conflict(order) is None


def test_an_order_cancelled_here_whose_goods_are_in_hand_there_is_a_conflict_until_a_person_decides(
    trade: Trade,
) -> None:
    order, sale = trade.order(1)
    trade.erp.ship(trade.erp.shipments(sale)[0], "assign_try", "pick")
    trade.cancel(order)
    conflict = wait_for("the conflict", lambda: trade.conflict(order))
    assert conflict["code"] == "delete_refused"
    assert "is picked in the ERP: somebody has the goods in hand" in conflict["reason"]
    assert (trade.read(order)["status"], trade.deliveries(order)[0]["state"]) == ("cancelled", "dead")
    # The warehouse puts them back; the person says: keep to what we said.
    trade.erp.ship(trade.erp.shipments(sale)[0], "cancel")
    trade.door.post(f"{API}/conflicts/{conflict['id']}/resolve", {"resolution": "keep_local"})
    until("the second attempt", lambda: trade.deliveries(order)[0]["state"] == "delivered")


def test_a_sale_called_off_there_is_a_conflict_and_the_order_stays_confirmed(trade: Trade) -> None:
    order, sale = trade.order(1)
    trade.erp.ship(trade.erp.shipments(sale)[0], "cancel")
    (row,) = trade.erp.rows("sale.sale", [["id", "=", int(sale)]], "invoices", "lines", "lines.moves")
    for invoice in row["invoices"]:
        trade.erp.ask(f"account.invoice/{invoice}/cancel")
    trade.erp.ask(f"sale.sale/{sale}", {"invoices_ignored": [["add", row["invoices"]]]}, method="PUT")
    for line in row["lines."]:
        trade.erp.ask(f"sale.line/{line['id']}", {"moves_ignored": [["add", line["moves"]]]}, method="PUT")
    trade.erp.ask(f"sale.sale/{sale}/process")
    conflict = trade.pulled_until("the conflict", lambda: trade.conflict(order))
    assert (conflict["code"], conflict["fields"]) == ("cancelled_there", ["state"])
    assert "was cancelled in the ERP, but the order is confirmed here" in conflict["reason"]
    assert trade.read(order)["status"] == "confirmed"


def test_polls_in_which_nothing_happens_there_bring_nothing_and_send_nothing(trade: Trade) -> None:
    order, _sale = trade.order(1)
    before = trade.read(order)
    ledger = trade.door.get(f"{API}/connections/{trade.connection}/ledger")
    for _ in range(6):
        trade.pull()
        trade.door.get(f"{API}/conflicts", state="open")
    erp_side = trade.order(1)[0]  # and one more, told after them
    after = trade.door.get(f"{API}/connections/{trade.connection}/ledger")
    assert after["balanced"]
    # What we wrote is no news: two changes more, the customer and the order of the last one, were accepted.
    assert after["accepted"] == ledger["accepted"] + 2
    assert (trade.read(order)["version"], trade.read(order)["shipments"]) == (before["version"], [])
    for one in (order, erp_side):
        assert [delivery["state"] for delivery in trade.deliveries(one)] == ["delivered"]
        assert trade.conflict(one) is None
