"""The first job: an order becomes a sale in the ERP, once, and is fulfilled when the ERP's warehouse has shipped it."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from hub.demo.colleague import Colleague
from hub.demo.connection import API, Connection
from hub.demo.door import Door, Refused, wait_for
from hub.demo.erp import Erp, Sale
from hub.demo.showing import Row, Tell, ledger_row
from hub.trouble import Trouble

SKUS = (("SKU-1001", "2"), ("SKU-1003", "10"))


@dataclass
class OrderOutcome:
    """What the job has seen.

    Attributes:
        order: as the hub holds it, confirmed.
        sale: as the ERP holds it on arrival.
        party: the ERP's record of the customer, before and after the change of name.
        arrived_s: seconds from the 2xx of the confirmation to the processed sale, read back in the ERP.
        renamed_s: seconds from the 2xx of the change to the new name, read back in the ERP.
        replayed: whether the same key gave the same answer.
        refused: the code of the answer to a second confirmation without the key.
        sales: how many sales the ERP holds for the order after all that.
        shipments: of the sale, after the ERP's warehouse has sent them.
        fulfilled: the order as the hub holds it after that.
        fulfilled_s: seconds from the shipping there to the fulfilled order here.
        ledger: of the connection.
    """

    customer: dict[str, Any] = field(default_factory=dict)
    order: dict[str, Any] = field(default_factory=dict)
    sale: Sale | None = None
    party: dict[str, Any] = field(default_factory=dict)
    renamed: dict[str, Any] = field(default_factory=dict)
    arrived_s: float = 0.0
    renamed_s: float = 0.0
    replayed: bool = False
    refused: str = ""
    sales: int = 0
    shipments: list[dict[str, Any]] = field(default_factory=list)
    fulfilled: dict[str, Any] = field(default_factory=dict)
    fulfilled_s: float = 0.0
    ledger: dict[str, Any] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """The job as rows of the table."""
        order, customer, party, sale = self.order, self.customer, self.party, self.sale
        if sale is None:
            raise Trouble("the ERP holds no sale", "GET /api/v1/deliveries says what became of it")
        again = (f"same key: {'same answer' if self.replayed else 'NOT the same answer'}\n"
                 f"no key: {self.refused or 'accepted'}")
        return [
            Row("order → sale", f"{order['number']}\n{order['id']}", f"{sale.number} (id {sale.id}), {sale.state}",
                self.arrived_s),
            Row("lines", "\n".join(f"{line['quantity']} x {line['sku']} at {line['unit_price']}"
                                   for line in order["lines"]), "\n".join(sale.lines)),
            Row("total", f"{order['total']} {order['currency']}", f"{sale.total} {order['currency']}"),
            Row("customer → party", f"{customer['name']}\n{customer['id']}",
                f"{party['name']}\n{party['code']} (id {party['id']})"),
            Row("renamed", str(self.renamed["name"]), str(self.renamed["name"]), self.renamed_s),
            Row("confirmed again", again, f"{self.sales} sale"),
            Row("shipped there → fulfilled", f"{order['number']} {self.fulfilled['status']}",
                "\n".join(f"shipment {one['number']} {one['state']}" for one in self.shipments), self.fulfilled_s),
            ledger_row("Sandbox ERP", self.ledger),
        ]


class OrderJob:
    """One run of the job. Every step may be repeated: a run that was cut off goes on with another order."""

    def __init__(self, door: Door, erp: Erp, warehouse: Colleague, tell: Tell) -> None:
        self._door = door
        self._erp = erp
        self._warehouse = warehouse
        self._tell = tell
        self.outcome = OrderOutcome()

    def run(self) -> OrderOutcome:
        """Do the whole job.

        Raises:
            Refused: the hub refused a step.
            Trouble: something did not happen in time.
        """
        connection = self.connect()
        self.pull_products(connection)
        self.order()
        self.rename()
        self.repeat()
        self.ship(connection)
        self.outcome.ledger = connection.settled_ledger()
        return self.outcome

    def connect(self) -> Connection:
        """Configure the ERP as a connection, give it the key, check it, say which entity travels which way."""
        return Connection.ensure(self._door, self._erp.wanted(), self._tell)

    def pull_products(self, connection: Connection) -> None:
        """Bring the ERP's products and stock into the hub."""
        began = time.monotonic()

        def here() -> list[dict[str, Any]] | None:
            items: list[dict[str, Any]] = self._door.get(f"{API}/products", limit=200)["items"]
            return items if {sku for sku, _ in SKUS} <= {item["sku"] for item in items} else None

        products = connection.pulled("the pull of the products", here)
        self._tell(f"{len(products)} products with their stock here after {time.monotonic() - began:.1f} s")

    def order(self) -> None:
        """Make a customer and an order, confirm it, and wait until it stands in the ERP."""
        tag = uuid.uuid4().hex[:6]
        self.outcome.customer = self._door.post(f"{API}/customers", {
            "name": f"上海示例有限公司 {tag}", "kind": "company", "email": f"buyer-{tag}@example.com",
            "phone": "+86 138 0013 8000",
            "address": {"street": "南京东路 1 号", "city": "上海", "postal_code": "200000"}})
        body = {"customer_id": self.outcome.customer["id"], "currency": "CNY",
                "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in SKUS]}
        draft = self._door.post(f"{API}/orders", body)
        self._tell(f"order {draft['number']} over {draft['total']} {draft['currency']} drafted")
        self._key = str(uuid.uuid4())
        self._confirm = f"{API}/orders/{draft['id']}/confirm"
        self.outcome.order = self._door.post(self._confirm, key=self._key)
        acknowledged = time.monotonic()
        order = self.outcome.order["id"]
        self.outcome.sale = wait_for("the order's arrival in the ERP", lambda: processed(self._erp, order))
        self.outcome.arrived_s = time.monotonic() - acknowledged
        self.outcome.party = self._erp.party(self.outcome.sale.party)
        self._tell(f"confirmed, and in the ERP as sale {self.outcome.sale.number} after {self.outcome.arrived_s:.2f} s")

    def rename(self) -> None:
        """Change the customer's name and wait until the ERP shows it."""
        name = self.outcome.customer["name"].replace("有限公司", "股份有限公司")
        customer = self.outcome.customer
        self._door.patch(f"{API}/customers/{customer['id']}", customer["version"], {"name": name})
        acknowledged, party = time.monotonic(), self.outcome.party["code"]

        def shown() -> dict[str, Any] | None:
            found = self._erp.party_by_code(party)
            return found if found and found["name"] == name else None

        self.outcome.renamed = wait_for("the new name in the ERP", shown)
        self.outcome.renamed_s = time.monotonic() - acknowledged
        self._tell(f"customer renamed, and in the ERP after {self.outcome.renamed_s:.2f} s")

    def repeat(self) -> None:
        """Confirm the same order again, with the same key and without, and count what the ERP holds."""
        self.outcome.replayed = self._door.replayed(self._confirm, self._key)
        try:
            self._door.post(self._confirm)
        except Refused as refused:
            self.outcome.refused = refused.code
        self.outcome.sales = len(self._erp.sales(self.outcome.order["id"]))
        self._tell(f"confirmed twice more: {self.outcome.sales} sale in the ERP")

    def ship(self, connection: Connection) -> None:
        """Have the ERP's warehouse send the goods, and wait until the order is fulfilled here."""
        sale, place = self.outcome.sale, f"{API}/orders/{self.outcome.order['id']}"
        if sale is None:
            raise Trouble("there is no sale to ship", "run hub demo again")
        self._warehouse.ship(sale.id)
        shipped = time.monotonic()
        self.outcome.shipments = self._erp.shipments(sale.id)

        def fulfilled() -> dict[str, Any] | None:
            order = self._door.get(place)
            return order if order["status"] == "fulfilled" else None

        self.outcome.fulfilled = connection.pulled("the shipment's way back", fulfilled)
        self.outcome.fulfilled_s = time.monotonic() - shipped
        self._tell(f"shipped in the ERP, and fulfilled here after {self.outcome.fulfilled_s:.2f} s")


def processed(erp: Erp, order_id: str) -> Sale | None:
    """Return an order's sale once the ERP has processed it."""
    return next((sale for sale in erp.sales(order_id) if sale.state in ("processing", "done")), None)
