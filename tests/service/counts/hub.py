"""The whole hub inside the test process, metered, with a target that honours idempotency keys."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chassis.calling
from bench.wire_http import Door, Line, request
from gateway import auth
from gateway.auth import Authenticator
from gateway.service import AUTHENTICATOR
from services.integrations.adapters import registry
from services.integrations.engine import dispatcher
from tests.service.counts.meter import Cost, Meter
from tests.support.processes import ROOT, Processes, free_port
from tests.support.rooms import Rooms

ROOMS = ("identity", "customers", "sales", "integrations")
CUSTOMER = {"name": "上海示例有限公司", "kind": "company", "email": "buyer@example.com", "phone": "+86 138 0013 8000",
            "address": {"street": "南京东路 1 号", "city": "上海", "postal_code": "200000"}}
QUIET_S = 0.4
"""Nothing counted for so long, and no event unsent: the work is over."""


def tame(patch: pytest.MonkeyPatch) -> None:
    """Keep the clock out of it: what a room does unasked, after some time, would be counted or not by chance."""
    patch.setattr(dispatcher, "LOOK_EVERY_S", 3600.0)
    patch.setattr(chassis.calling, "LOOK_EVERY_S", 4.0)
    patch.setattr(auth, "Authenticator", lambda asks, *, held_s, most: Authenticator(asks, held_s=3600.0, most=most))
    patch.setitem(registry.OURS, "bench", "bench.adapter:BenchAdapter")


class MeteredHub:
    """Every room and the gateway in this process; `measure` tells what a piece of work costs."""

    def __init__(self, home: Path, amqp_uri: str, meter: Meter, processes: Processes) -> None:
        self._meter = meter
        self._home = home
        self._rooms = Rooms(home, amqp_uri, INTEGRATIONS_SWEEP_EVERY_S="60", INTEGRATIONS_POLL_EVERY_S="86400")
        self._target_port = free_port()
        processes.start("target", [sys.executable, "-m", "bench.target", str(self._target_port), "0"])
        for room in ROOMS:
            self._rooms.start(room)
        made = subprocess.run([sys.executable, "-m", "services.identity.first_admin"], cwd=ROOT, check=True,
                              capture_output=True, text=True, env={**self._rooms.environ, "PYTHONPATH": str(ROOT)})
        container = self._rooms.start("gateway", GATEWAY_LISTEN="127.0.0.1:0")
        listening = next(e for e in container.entrypoints if hasattr(e, "address"))
        self.door = Door(listening.address[1])
        lines = made.stdout.splitlines()
        self.door.sign_in("admin", next(line.split(": ")[1] for line in lines if line.startswith("password: ")))
        self._engine = self._rooms.running["integrations"].runtime.extra["engine"]
        self._authenticator = container.runtime.extra[AUTHENTICATOR]
        self._held: list[str] = []

    def stop(self) -> None:
        """Drain every room."""
        self._rooms.stop_all()

    # --- work -----------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Plug the target in, pull its product, and hold deliveries back until `deliver`."""
        ask = self.door.ask
        config = {"base_url": f"http://127.0.0.1:{self._target_port}", "allow_private": ["127.0.0.0/8"]}
        made = ask("POST", "/connections", {"name": "Bench", "kind": "erp", "adapter": "bench", "config": config})
        ask("PUT", f"/connections/{made['id']}/credential", {"secrets": {"key": "none"}})
        assert ask("POST", f"/connections/{made['id']}/check")["ok"]
        for entity, direction in (("product", "pull"), ("customer", "push"), ("order", "push")):
            route = ask("POST", "/routes", {"connection_id": made["id"], "entity": entity, "direction": direction})
            ask("POST", f"/routes/{route['id']}/activate")
        self.eventually(lambda: ask("GET", "/products")["items"])

    def hold(self) -> None:
        """From now on a delivery waits for `deliver`."""
        self._engine.wake = self._held.extend

    def deliver(self) -> None:
        """Let go what is held."""
        held, self._held[:] = list(self._held), []
        self._engine.dispatcher.wake(held)

    def forget_who_is_who(self) -> None:
        """The next request's credential has to be asked about."""
        self._authenticator.flush()

    def create_customer(self) -> str:
        """Create a customer; return its id."""
        return str(self.door.ask("POST", "/customers", CUSTOMER)["id"])

    def draft(self, customer_id: str) -> str:
        """Draft an order; return its id."""
        body = {"customer_id": customer_id, "currency": "CNY", "lines": [{"sku": "BENCH-1", "quantity": "2"}]}
        return str(self.door.ask("POST", "/orders", body, Idempotency_Key=f"draft-{time.monotonic_ns()}")["id"])

    # --- measuring ------------------------------------------------------------------------------------------------

    def measure(self, work: Callable[[], object]) -> Cost:
        """Return what `work`, and everything that follows from it, costs."""
        self.settle()
        before = self._calls()
        self._meter.reset()
        work()
        self.settle()
        return self._meter.cost(self._calls() - before)

    def settle(self) -> None:
        """Wait until nothing happens any more."""
        seen, since = self._meter.total, time.monotonic()
        deadline = since + 30
        while time.monotonic() - since < QUIET_S or self._unsent():
            assert time.monotonic() < deadline, "the hub does not come to rest"
            time.sleep(0.05)
            if self._meter.total != seen:
                seen, since = self._meter.total, time.monotonic()

    def eventually(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, condition
            time.sleep(0.1)

    def _unsent(self) -> int:
        # Past SQLAlchemy: looking must not be counted.
        return sum(self._count(room, "SELECT count(*) FROM outbox WHERE sent_at IS NULL") for room in ROOMS)

    def _count(self, room: str, query: str) -> int:
        connection = sqlite3.connect(self._home / "db" / f"{room}.sqlite")
        try:
            return int(connection.execute(query).fetchone()[0])
        finally:
            connection.close()

    def _calls(self) -> int:
        line = Line(self._target_port)
        seen = json.loads(line.ask(request("GET", "/seen")).body)
        line.close()
        return sum(seen["calls"].values())
