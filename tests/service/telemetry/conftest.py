"""A whole hub in the test process that exports its traces, and a target that the test scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa

from bench.target import PRODUCT
from bench.wire_http import Door
from chassis import tracing
from chassis.database import utcnow
from services.integrations.adapters import registry
from services.integrations.models import Delivery
from tests.support.broker import Management
from tests.support.collector import Collector, collecting
from tests.support.processes import ROOT, eventually
from tests.support.rooms import SERVICES, Rooms
from tests.support.scripted_http import Part, ScriptedServer, Seen, answer


@dataclass
class Target:
    """Takes every record, after refusing as many orders as `refuse` says."""

    server: ScriptedServer
    refuse: int = 0
    seen: list[Seen] = field(default_factory=list)

    def answer(self, seen: Seen) -> Sequence[Part]:
        if seen.method == "GET":
            moment = utcnow().strftime("%Y-%m-%dT%H:%M:%SZ")
            return answer(body=json.dumps([PRODUCT | {"as_of": moment}] if "/product" in seen.path else {}).encode())
        self.seen.append(seen)
        if seen.path.endswith("/order") and self.refuse:
            self.refuse -= 1
            return answer(503)
        return answer(201, json.dumps({"id": f"T{len(self.seen)}", "version": "1"}).encode())

    def orders(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.path.endswith("/order")]


@dataclass
class Hub:
    """The rooms, the gateway's door, the target, and what was exported."""

    rooms: Rooms
    door: Door
    target: Target
    collector: Collector

    def connect(self) -> None:
        """Plug the target in, and pull its product."""
        ask, config = self.door.ask, {"base_url": self.target.server.url, "allow_private": ["127.0.0.0/8"]}
        made = ask("POST", "/connections", {"name": "Shop", "kind": "erp", "adapter": "bench", "config": config})
        ask("PUT", f"/connections/{made['id']}/credential", {"secrets": {"key": "none"}})
        assert ask("POST", f"/connections/{made['id']}/check")["ok"]
        for entity, direction in (("product", "pull"), ("customer", "push"), ("order", "push")):
            route = ask("POST", "/routes", {"connection_id": made["id"], "entity": entity, "direction": direction})
            ask("POST", f"/routes/{route['id']}/activate")
        eventually(lambda: ask("GET", "/products")["items"], 20)

    def hurry(self) -> None:
        """What waits for another try is due now."""
        runtime = self.rooms.running["integrations"].runtime
        with runtime.db.write() as session:
            session.execute(sa.update(Delivery).where(Delivery.state == "retry_wait").values(due_at=utcnow()))

    def metrics(self, room: str) -> str:
        """What a room serves to Prometheus."""
        return self.rooms.running[room].runtime.health.metrics().decode()


@pytest.fixture(scope="module")
def hub(broker: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Every room in this process, exporting every trace."""
    broker.start()
    vhost = broker.create_vhost()
    with pytest.MonkeyPatch.context() as patch, collecting() as collector, ScriptedServer() as server:
        patch.setitem(registry.OURS, "bench", "bench.adapter:BenchAdapter")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        tracing.configure("hub", collector.endpoint)
        rooms = Rooms(tmp_path_factory.mktemp("telemetry"), vhost.amqp_uri, IDENTITY_PASSWORD_HASH_MEMORY_MIB="19")
        try:
            running = Hub(rooms, _door(rooms), Target(server), collector)
            server.script = running.target.answer
            running.connect()
            yield running
        finally:
            rooms.stop_all()
            tracing.close()
            broker.delete_vhost(vhost.name)


def _door(rooms: Rooms) -> Door:
    for room in SERVICES:
        rooms.start(room)
    made: Any = subprocess.run([sys.executable, "-m", "services.identity.first_admin"], cwd=ROOT, check=True,
                               capture_output=True, text=True, env={**rooms.environ, "PYTHONPATH": str(ROOT)})
    container = rooms.start("gateway", GATEWAY_LISTEN="127.0.0.1:0")
    door = Door(next(e for e in container.entrypoints if hasattr(e, "address")).address[1])
    password = next(line.split(": ")[1] for line in made.stdout.splitlines() if line.startswith("password: "))
    eventually(lambda: _signed_in(door, password), 60)
    return door


def _signed_in(door: Door, password: str) -> bool:
    """Sign in, unless all rooms, which have just been started in one process, keep who is asked from answering."""
    try:
        door.sign_in("admin", password)
    except AssertionError as refused:
        if "deadline_exceeded" not in str(refused):
            raise
        return False
    return True
