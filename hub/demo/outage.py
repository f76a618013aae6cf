"""The reason for a hub: the ERP is away while people go on working; when it is back, everything arrives, once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hub import readiness
from hub.demo.connection import API, Connection
from hub.demo.door import Door, wait_for
from hub.demo.erp import Erp
from hub.demo.order import processed
from hub.demo.showing import Row, Tell, ledger_row
from hub.installation import Installation
from hub.supervisor import Supervisor

CUSTOMERS = 5
RENAMINGS = 2
"""Of each customer, so that there is an older version that must not win."""
ORDERS = 2
"""Of each customer."""
CHANGES = CUSTOMERS * (RENAMINGS + ORDERS)
WAKE_EVERY_S = 2.0


@dataclass
class OutageOutcome:
    """What the job has seen.

    Attributes:
        away_s: how long the ERP was stopped, until it answered again.
        names: customer id → the last name that was acknowledged while the ERP was away.
        orders: ids of the orders confirmed meanwhile.
        changes_s: seconds that the changes took, the ERP being away.
        waiting: deliveries that were open at the end of the outage.
        parties: customer id → the names in the ERP under its code, when all was there.
        sales: order id → states of the sales in the ERP that carry it, when all was there.
        caught_up_s: seconds from the ERP's first answer to the last change in it.
        woken: how often the connection was resumed as an operator would, instead of waiting for its next check.
        before, ledger: of the connection, before the changes and after all had arrived.
    """

    away_s: float = 0.0
    names: dict[str, str] = field(default_factory=dict)
    orders: list[str] = field(default_factory=list)
    changes_s: float = 0.0
    waiting: int = 0
    parties: dict[str, list[str]] = field(default_factory=dict)
    sales: dict[str, list[str]] = field(default_factory=dict)
    caught_up_s: float = 0.0
    woken: int = 0
    before: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every customer stands there once in the newest version, and every order as one sale."""
        names = {id: [name] for id, name in self.names.items()}
        return self.parties == names and all(len(self.sales.get(id, ())) == 1 for id in self.orders)

    def rows(self) -> list[Row]:
        """The job as rows of the table."""
        accepted = self.ledger["accepted"] - self.before["accepted"]
        newest = sum(self.parties.get(id) == [name] for id, name in self.names.items())
        single = sum(len(self.sales.get(id, ())) == 1 for id in self.orders)
        return [
            Row("ERP stopped", f"{CHANGES} changes acknowledged in {self.changes_s:.1f} s\n{self.waiting} waiting",
                "does not answer", self.away_s),
            Row("ERP started → caught up", f"{len(self.names)} customers renamed {RENAMINGS} times\n"
                f"{len(self.orders)} orders confirmed", f"{newest} parties, once, with the newest name\n"
                f"{single} orders as one sale each", self.caught_up_s),
            Row("lost or doubled", f"{accepted} accepted since the stop", "nothing" if self.whole else "SOMETHING"),
            ledger_row("Sandbox ERP", self.ledger),
        ]


class OutageJob:
    """One run of the job. A run that was cut off leaves the ERP running, and goes on with other customers."""

    def __init__(self, door: Door, erp: Erp, hub: Installation, tell: Tell) -> None:
        self._door = door
        self._erp = erp
        self._hub = hub
        self._tell = tell
        self.outcome = OutageOutcome()

    def run(self) -> OutageOutcome:
        """Do the whole job.

        Raises:
            Refused: the hub refused a step.
            Trouble: something did not happen in time.
        """
        connection = Connection.ensure(self._door, self._erp.wanted(), lambda _: None)
        customers, drafts = self.prepare()
        self.outcome.before = connection.settled_ledger()
        with self.stopped():
            self.change(customers, drafts)
            self.outcome.waiting = wait_for("the acceptance of every change", lambda: self._accepted(connection))
        self.catch_up(connection)
        self.outcome.ledger = connection.settled_ledger()
        return self.outcome

    def prepare(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Make the customers, wait until they stand in the ERP, and draft their orders."""
        tag = uuid.uuid4().hex[:6]
        customers = [self._door.post(f"{API}/customers", {
            "name": f"宁波示例贸易 {tag}-{n}", "kind": "company", "phone": "+86 574 8700 0000",
            "address": {"city": "宁波"}}) for n in range(CUSTOMERS)]
        drafts = [self._door.post(f"{API}/orders", {
            "customer_id": customer["id"], "currency": "CNY", "lines": [{"sku": "SKU-1002", "quantity": "1"}]})
            for customer in customers for _ in range(ORDERS)]
        for customer in customers:
            wait_for("a customer's arrival in the ERP", partial(self._erp.party_by_code, customer["id"]))
        return customers, drafts

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the ERP's process, and start it again afterwards, whatever happens meanwhile."""
        keeper, program = Supervisor(self._hub), self._hub.programs["tryton"]
        keeper.stop_program(program)
        began = time.monotonic()
        self._tell("the ERP is stopped")
        try:
            yield
        finally:
            keeper.start_program(program)
        wait_for("the ERP's start", lambda: readiness.missing(self._hub, program) is None or None)
        self.outcome.away_s = time.monotonic() - began
        self._tell(f"the ERP is started, after {self.outcome.away_s:.1f} s")

    def change(self, customers: list[dict[str, Any]], drafts: list[dict[str, Any]]) -> None:
        """Rename the customers and confirm the orders; each is acknowledged at once, as if nothing were the matter."""
        began = time.monotonic()
        for renaming in range(RENAMINGS):
            for n, customer in enumerate(customers):
                body = {"name": f"{customer['name'].partition('，')[0]}，第 {renaming + 1} 次更名"}
                customers[n] = self._door.patch(f"{API}/customers/{customer['id']}", customer["version"], body)
        for draft in drafts:
            self._door.post(f"{API}/orders/{draft['id']}/confirm")
        self.outcome.changes_s = time.monotonic() - began
        self.outcome.names = {customer["id"]: customer["name"] for customer in customers}
        self.outcome.orders = [draft["id"] for draft in drafts]
        self._tell(f"{CHANGES} changes made meanwhile, each acknowledged, in {self.outcome.changes_s:.1f} s")

    def catch_up(self, connection: Connection) -> None:
        """Wake the connection until all that was acknowledged stands in the ERP."""
        began, next_wake = time.monotonic(), 0.0

        def caught_up() -> bool | None:
            nonlocal next_wake
            if time.monotonic() >= next_wake:
                self.outcome.woken += connection.wake()
                next_wake = time.monotonic() + WAKE_EVERY_S
            return True if connection.ledger()["open"] == 0 and self._arrived() else None

        wait_for("everything's arrival in the ERP", caught_up)
        self.outcome.caught_up_s = time.monotonic() - began
        self.outcome.parties = {id: [party["name"] for party in self._erp.parties(id)] for id in self.outcome.names}
        self.outcome.sales = {id: [sale.state for sale in self._erp.sales(id)] for id in self.outcome.orders}
        self._tell(f"everything in the ERP {self.outcome.caught_up_s:.1f} s after that")

    def _accepted(self, connection: Connection) -> int | None:
        """Return how many deliveries are open once every change is in the ledger."""
        ledger = connection.ledger()
        return ledger["open"] if ledger["accepted"] >= self.outcome.before["accepted"] + CHANGES else None

    def _arrived(self) -> bool:
        outcome = self.outcome
        return (all(processed(self._erp, id) for id in outcome.orders)
                and all((self._erp.party_by_code(id) or {}).get("name") == name for id, name in outcome.names.items()))
