"""One order after another, from its acknowledgement to its arrival at a target that answers at once."""

from __future__ import annotations

import sqlite3
import time
import uuid
from dataclasses import dataclass
from typing import Any

from bench.durability import assert_equal, of_product
from bench.rounds import Comparison, alternate, quantile
from bench.stage import Stage
from bench.wire_http import Door, Line

GAP_S = 0.02
"""Pause after each arrival, so that the end of one order is not the beginning of the next one's wait."""
CUSTOMER = {"name": "上海示例有限公司", "kind": "company", "email": "buyer@example.com", "phone": "+86 138 0013 8000",
            "address": {"street": "南京东路 1 号", "city": "上海", "postal_code": "200000"}}


@dataclass(frozen=True)
class Passage:
    """One order's way, in milliseconds."""

    from_request_ms: float
    from_ack_ms: float


@dataclass
class Product:
    """The hub, seen by somebody who confirms orders."""

    stage: Stage
    door: Door

    def __post_init__(self) -> None:
        self.stage.connect_target(self.door)
        self._watch = Line(self.stage.target_port)
        self._client = Line(self.door.port)
        self.customer = self.door.ask("POST", "/customers", CUSTOMER)["id"]
        self.stage.arrival_ns(self._watch, f"customer-{self.customer}")

    def drafts(self, count: int) -> list[str]:
        """Draft orders; return their ids."""
        body = {"customer_id": self.customer, "currency": "CNY", "lines": [{"sku": "BENCH-1", "quantity": "2"}]}
        return [self.door.ask("POST", "/orders", body, Idempotency_Key=str(uuid.uuid4()))["id"] for _ in range(count)]

    def confirm(self, order_id: str) -> tuple[int, int, int]:
        """Confirm an order; return when it was asked for, acknowledged and at the target (ns)."""
        raw = self.door.raw("POST", f"/orders/{order_id}/confirm", Idempotency_Key=str(uuid.uuid4()))
        asked_ns = time.monotonic_ns()
        answer = self._client.ask(raw)
        acknowledged_ns = time.monotonic_ns()
        assert answer.status == 200, f"{answer.status}: {answer.body.decode()[:500]}"
        return asked_ns, acknowledged_ns, self.stage.arrival_ns(self._watch, f"order-{order_id}")

    def round(self, orders: int) -> list[Passage]:
        """Confirm orders one by one."""
        passages = []
        drafted = self.drafts(orders)
        time.sleep(0.3)
        for order_id in drafted:
            asked, acknowledged, arrived = self.confirm(order_id)
            passages.append(Passage((arrived - asked) / 1e6, (arrived - acknowledged) / 1e6))
            time.sleep(GAP_S)
        return passages

    def event_body(self) -> str:
        """Return the newest order event as it travelled, to be the floor's payload."""
        uri = self.stage.db_uri("sales")
        if not uri.startswith("sqlite:///"):
            import psycopg2

            connection: Any = psycopg2.connect(uri)
        else:
            connection = sqlite3.connect(uri.removeprefix("sqlite:///"))
        cursor = connection.cursor()
        cursor.execute("SELECT body FROM outbox WHERE routing_key = 'order.confirmed' ORDER BY id DESC LIMIT 1")
        body: str = cursor.fetchone()[0]
        connection.close()
        return body


@dataclass
class Floor:
    """The least code, told to send the same payload."""

    stage: Stage
    body: str

    def __post_init__(self) -> None:
        uris = (self.stage.amqp_uri, self.stage.db_uri("floor_sales"))
        self._sender = self.stage.program("bench.floors.order", "sender", *uris)
        self._receiver = self.stage.program("bench.floors.order", "receiver", self.stage.amqp_uri,
                                            self.stage.db_uri("floor_integrations"), str(self.stage.target_port))
        self._watch = Line(self.stage.target_port)
        self.durability = self._sender.hello

    def round(self, orders: int) -> list[Passage]:
        """Send orders one by one."""
        passages = []
        for _ in range(orders):
            order_id = str(uuid.uuid4())
            told = self._sender.ask(id=order_id, body=self.body)
            arrived = self.stage.arrival_ns(self._watch, f"order-{order_id}")
            passages.append(Passage((arrived - told["began_ns"]) / 1e6, (arrived - told["committed_ns"]) / 1e6))
            time.sleep(GAP_S)
        return passages


def measure(database: str, delay_ms: float, rounds: int, orders: int) -> tuple[list[Comparison], dict[str, Any]]:
    """Return the comparisons, and the durability settings that both sides had."""
    with Stage(database, delay_ms) as stage:
        product = Product(stage, stage.start_product())
        product.round(20)
        floor = Floor(stage, product.event_body())
        floor.round(20)
        settings = assert_equal(floor.durability, of_product(stage.db_uri("sales")))
        measured = alternate(rounds, lambda: floor.round(orders), lambda: product.round(orders))
    return _comparisons(measured), {"order": settings | {"payload_bytes": len(floor.body.encode())}}


def _comparisons(measured: list[tuple[list[Passage], list[Passage]]]) -> list[Comparison]:
    made = []
    asked_for = {("from_ack_ms", 0.5): (3.0, 2.5), ("from_ack_ms", 0.99): (5.0, 5.0)}
    for words, field in (("acknowledged", "from_ack_ms"), ("asked for", "from_request_ms")):
        for q in (0.50, 0.99):
            floor, ours = ([quantile([getattr(p, field) for p in side[which]], q) for side in measured]
                           for which in (0, 1))
            made.append(Comparison(f"order {words} → in the target, p{q * 100:.0f}", "ms", floor, ours, "less",
                                   *asked_for.get((field, q), (None, None))))
    return made
