"""The demo's story, told step by step: connect, pull, order, look in the ERP, rename, repeat."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hub.demo.door import Door, Refused, wait_for
from hub.demo.erp import Erp, Sale
from hub.trouble import Trouble

API = "/api/v1"
CONNECTION = "Sandbox ERP"
ROUTES = (("product", "pull"), ("customer", "push"), ("order", "both"))
SKUS = (("SKU-1001", "2"), ("SKU-1003", "10"))

Tell = Callable[[str], None]


@dataclass
class Outcome:
    """What the demo has seen.

    Attributes:
        order: as the hub holds it.
        sale: as the ERP holds it.
        party: the ERP's record of the customer, before and after the change of name.
        arrived_s: seconds from the 2xx of the confirmation to the processed sale, read back in the ERP.
        renamed_s: seconds from the 2xx of the change to the new name, read back in the ERP.
        replayed: whether the same key gave the same answer.
        refused: the code of the answer to a second confirmation without the key.
        sales: how many sales the ERP holds for the order after all that.
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
    ledger: dict[str, Any] = field(default_factory=dict)


class Story:
    """One run of the demo. Every step may be repeated: a run that was cut off goes on where it stopped."""

    def __init__(self, door: Door, erp: Erp, tell: Tell) -> None:
        self._door = door
        self._erp = erp
        self._tell = tell
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Tell it all.

        Raises:
            Refused: the hub refused a step.
            Trouble: something did not happen in time.
        """
        connection = self.connect()
        self.open_routes(connection)
        self.pull_products(connection)
        self.order()
        self.rename()
        self.repeat()
        self.outcome.ledger = self.settled_ledger(connection)
        return self.outcome

    def connect(self) -> dict[str, Any]:
        """Configure the ERP as a connection, give it the key, check it."""
        connections = self._door.get(f"{API}/connections", limit=200)["items"]
        found = next((c for c in connections if c["name"] == CONNECTION), None)
        if found is None:
            body = {"name": CONNECTION, "kind": "erp", "adapter": "tryton", "config": self._erp.connection()}
            found = self._door.post(f"{API}/connections", body)
        place = f"{API}/connections/{found['id']}"
        checked: dict[str, Any] = {"ok": False}
        if found["has_credential"]:
            checked = self._door.post(f"{place}/check")
        if not checked["ok"]:
            # The first run, or somebody has tried another key: ours stands in the sandbox's seed.json.
            self._door.put(f"{place}/credential", {"secrets": {"rest_key": self._erp.seed["rest_key"]}})
            checked = self._door.post(f"{place}/check")
        if not checked["ok"]:
            wrong = "; ".join(f"{p['field']}: {p['message']}" for p in checked["problems"]) or checked["message"]
            raise Trouble(f"the hub cannot work with the ERP ({wrong})", f"mend the connection {CONNECTION!r}")
        if self._door.get(place)["desired_state"] != "active":
            self._door.post(f"{place}/resume")
        self._tell(f"connection {found['name']}: {checked['message']} ({found['guarantee'].replace('_', ' ')})")
        return found

    def open_routes(self, connection: dict[str, Any]) -> None:
        """Say which entity travels which way."""
        routes = self._door.get(f"{API}/routes", connection_id=connection["id"], limit=200)["items"]
        for entity, direction in ROUTES:
            found = next((r for r in routes if r["entity"] == entity), None)
            if found is None:
                body = {"connection_id": connection["id"], "entity": entity, "direction": direction}
                found = self._door.post(f"{API}/routes", body)
            if found["state"] != "active":
                self._door.post(f"{API}/routes/{found['id']}/activate")
        self._tell("routes active: products from the ERP, customers to it, orders both ways")

    def pull_products(self, connection: dict[str, Any]) -> None:
        """Bring the ERP's products and stock into the hub."""
        self._door.post(f"{API}/connections/{connection['id']}/pull")
        began = time.monotonic()

        def here() -> list[dict[str, Any]] | None:
            items: list[dict[str, Any]] = self._door.get(f"{API}/products", limit=200)["items"]
            return items if {sku for sku, _ in SKUS} <= {item["sku"] for item in items} else None

        products = wait_for("the pull of the products", here)
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
        self.outcome.sale = wait_for("the order's arrival in the ERP", self.processed)
        self.outcome.arrived_s = time.monotonic() - acknowledged
        self.outcome.party = self._erp.party(self.outcome.sale.party)
        self._tell(f"confirmed, and in the ERP as sale {self.outcome.sale.number} after {self.outcome.arrived_s:.2f} s")

    def processed(self) -> Sale | None:
        """Return the order's sale once the ERP has processed it."""
        sales = self._erp.sales(self.outcome.order["id"])
        return next((sale for sale in sales if sale.state in ("processing", "done")), None)

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

    def settled_ledger(self, connection: dict[str, Any]) -> dict[str, Any]:
        """Return the connection's ledger once nothing is open."""

        def closed() -> dict[str, Any] | None:
            ledger = self._door.get(f"{API}/connections/{connection['id']}/ledger")
            return ledger if ledger["open"] == 0 else None

        return wait_for("the end of every delivery", closed)
