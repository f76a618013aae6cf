"""Requests through the gateway, to read a customer and to create one: how many a second over 1 and over 8 keep-alive
connections, and how long the slowest hundredth waits over 64.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from bench.durability import assert_equal, of_product
from bench.order import CUSTOMER
from bench.rounds import Comparison, alternate, quantile
from bench.stage import Stage
from bench.wire_http import Door, Line, ask_on, request
from contracts.customers import CUSTOMER_CREATED
from contracts.identity import ACCESS_CHANGED
from tests.support.processes import free_port

ALONE, BUSY = 1, 8
"""Connections. What is asked for is throughput, so it is asked of a gateway that is busy."""
SECONDS = 1.0
CROWD, CROWD_SECONDS = 64, 3.0
"""As many clients at once as the gateway takes on, for long enough that a hundredth of their answers is some."""
ROOMS = ("identity", "customers")


def start_product(stage: Stage) -> Door:
    """Start identity, customers and the gateway, with a place for their events to go; return the gateway, signed in."""
    for event in (CUSTOMER_CREATED, ACCESS_CHANGED):
        stage.bind_sink(event.exchange, "#", f"bench.{event.service}", **{"x-max-length": 1000})
    return stage.start_product(ROOMS)


def start_floor(stage: Stage) -> tuple[int, dict[str, Any]]:
    """Start the bare gateway and service; return the gateway's port and the service's durability settings."""
    port, environ = free_port(), {"FLOOR_AMQP_URI": stage.amqp_uri}
    uri = stage.db_uri("floor_customers")
    command = [sys.executable, "-W", "ignore", "-m", "bench.floors.gateway"]
    service = stage.processes.start("floor-service", [*command, "service", uri], environ)
    stage.processes.start("floor-gateway", [*command, "http", str(port)], environ)
    deadline = time.monotonic() + 20
    while True:
        try:
            make = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/customers", json.dumps(CUSTOMER).encode(),
                                          {"Content-Type": "application/json"})
            urllib.request.urlopen(make, timeout=5).close()  # noqa: S310 (loopback)
            break
        except OSError:
            assert time.monotonic() < deadline, service.log()[-2000:]
            time.sleep(0.2)
    return port, json.loads(next(line for line in service.log().splitlines() if line.startswith("{")))


def measure(database: str, rounds: int) -> tuple[list[Comparison], dict[str, Any]]:
    """Return the comparisons, and the durability settings that both sides had."""
    with Stage(database) as stage:
        door = start_product(stage)
        bare, durability = start_floor(stage)
        settings = assert_equal(durability, of_product(stage.db_uri("customers")))
        made = []
        for words, asked, status, milestone, goal in _pairs(door, bare):
            for connections in (ALONE, BUSY):
                name = f"gateway {words}, {connections} connection{'s' * (connections > 1)}"
                floors, ours = _measured(rounds, [_rate(port, raw, connections, status) for port, raw in asked])
                wanted = (milestone, goal) if connections == BUSY else ()
                made.append(Comparison(name, "1/s", floors, ours, "more", *wanted))
            floors, ours = _measured(rounds, [_slowest_ms(port, raw, status) for port, raw in asked])
            made.append(Comparison(f"gateway {words}, {CROWD} connections, p99", "ms", floors, ours, "less"))
    return made, {"gateway": settings}


def _measured(rounds: int, sides: list[Callable[[], float]]) -> tuple[list[float], list[float]]:
    """Return what floor and product measured, one figure for each round, after one that does not count."""
    floor, product = sides
    floor(), product()
    measured = alternate(rounds, floor, product)
    return [least for least, _ in measured], [ours for _, ours in measured]


def _rate(port: int, raw: bytes, connections: int, status: int) -> Callable[[], float]:
    return lambda: ask_on(port, raw, connections, SECONDS, status).rate


def _slowest_ms(port: int, raw: bytes, status: int) -> Callable[[], float]:
    return lambda: quantile(ask_on(port, raw, CROWD, CROWD_SECONDS, status).latencies_s, 0.99) * 1000


def _pairs(door: Door, bare: int) -> list[tuple[str, list[tuple[int, bytes]], int, float, float]]:
    """Return, for read and create, what is asked of the floor's port and of the product's."""
    body = json.dumps(CUSTOMER).encode()
    ours = door.ask("POST", "/customers", CUSTOMER)["id"]
    theirs = _made_at(bare, body)
    path = "/api/v1/customers"
    create = [(bare, request("POST", path, body)), (door.port, door.raw("POST", "/customers", CUSTOMER))]
    read = [(bare, request("GET", f"{path}/{theirs}")), (door.port, door.raw("GET", f"/customers/{ours}"))]
    return [("read", read, 200, 0.5, 0.6), ("create", create, 201, 0.5, 0.5)]


def _made_at(port: int, body: bytes) -> str:
    line = Line(port)
    made: str = json.loads(line.ask(request("POST", "/api/v1/customers", body)).body)["id"]
    line.close()
    return made
