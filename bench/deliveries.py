"""Deliveries a second: the engine against a bare loop, and against what so many calls make of a slow target.

What waits is written into the database of a paused connection, as a backfill's pages are, and the connection is
resumed; a rate is counted where it matters, by the arrivals at the target.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from bench.durability import assert_equal, of_product
from bench.rounds import Comparison, alternate
from bench.stage import Stage
from bench.wire_http import Door, Line, request
from chassis.crypto import DataKeys, Keyring, MasterKey
from chassis.database import Database, new_id, utcnow
from contracts.integrations import DELIVERY_SETTLED
from services.integrations.models import Record
from services.integrations.operations import intake
from services.integrations.operations.records import canonical

ROOMS = ("identity", "integrations")
MANY, PAGE = 2000, 2000
"""Deliveries in a round, and in a transaction that lets some wait."""
AT_ONCE, FEW = 16, 4
"""Calls in flight: what the bench target's adapter names, and so few that the target is what everybody waits for."""
SLOW_MS, FAR_MS = 20.0, 100.0
"""How long a slow target thinks; and one so far away that two processes on this machine wait for it, not for a core."""
CUSTOMER = {"version": 1, "name": "上海示例有限公司", "kind": "company", "email": "buyer@example.com", "level": "gold",
            "phone": "+86 138 0013 8000", "wechat_id": None, "source": "fair", "lifecycle": "active", "tags": ["tea"],
            "address": {"street": "南京东路 1 号", "city": "上海", "postal_code": "200000", "country": "CN"}}


class Target:
    """The bench target as a place where things arrive."""

    def __init__(self, port: int) -> None:
        self._line = Line(port)

    def forget(self) -> None:
        """Begin to count anew."""
        self._line.ask(request("DELETE", "/arrivals"))

    def wait_for(self, many: int, within_s: float) -> None:
        """Wait until so many have arrived."""
        deadline = time.monotonic() + within_s
        while (seen := json.loads(self._line.ask(request("GET", "/seen")).body)["arrived"]) < many:
            assert time.monotonic() < deadline, f"{seen} of {many} have arrived after {within_s:.0f} s"
            time.sleep(0.1)

    def arrivals(self) -> list[int]:
        """Return when each arrived (ns), in order."""
        times: list[int] = json.loads(self._line.ask(request("GET", "/arrivals")).body)
        return times


def rate(arrivals: Sequence[int]) -> float:
    """Return arrivals per second."""
    return (len(arrivals) - 1) / ((arrivals[-1] - arrivals[0]) / 1e9)


class Product:
    """A connection to the bench target, and the process or processes of the hub that deliver over it."""

    def __init__(self, stage: Stage, door: Door, max_in_flight: int) -> None:
        uri = stage.db_uri("integrations")
        self._door, self._target = door, Target(stage.target_port)
        self._db = Database(uri, pool_size=1)
        self._keyring = Keyring(MasterKey.load(stage.home / "keys" / "master.key"), DataKeys(uri))
        config = {"base_url": f"http://127.0.0.1:{stage.target_port}", "allow_private": ["127.0.0.0/8"]}
        made = door.ask("POST", "/connections", {"name": f"Bench {max_in_flight}", "kind": "erp", "adapter": "bench",
                                                 "config": config, "max_in_flight": max_in_flight})
        self._path, self._id = f"/connections/{made['id']}", made["id"]
        door.ask("PUT", f"{self._path}/credential", {"secrets": {"key": "none"}})
        assert door.ask("POST", f"{self._path}/check")["ok"]
        route = door.ask("POST", "/routes", {"connection_id": self._id, "entity": "customer", "direction": "push"})
        door.ask("POST", f"/routes/{route['id']}/activate")

    def turn(self, verb: str) -> float:
        """Pause or resume the connection; return how long that took, in milliseconds."""
        began = time.monotonic()
        self._door.ask("POST", f"{self._path}/{verb}")
        return (time.monotonic() - began) * 1000

    def read(self) -> float:
        """Read the connection; return how long that took, in milliseconds."""
        began = time.monotonic()
        self._door.ask("GET", self._path)
        return (time.monotonic() - began) * 1000

    def fill(self, many: int) -> None:
        """Let so many deliveries wait, each for a record of its own."""
        for begin in range(0, many, PAGE):
            now, ids = utcnow(), [new_id() for _ in range(min(PAGE, many - begin))]
            rows = [{"entity": "customer", "id": id, "version": 1, "deleted": False, "seen_at": now, "state_hash": "-",
                     "state_sealed": self._keyring.seal(canonical(CUSTOMER | {"id": id}), f"record|customer|{id}")}
                    for id in ids]
            with self._db.write() as session:
                session.execute(sa.insert(Record), rows)
                intake.add(session, [intake.plan(self._id, "customer", id, "upsert", 1, now) for id in ids])

    def drained(self, many: int) -> list[int]:
        """Let so many wait, then deliver them; return when each arrived."""
        self.turn("pause")
        self.fill(many)
        self.forget()
        self.turn("resume")
        return self.arrivals(many)

    def forget(self) -> None:
        """Begin to count the arrivals anew."""
        self._target.forget()

    def wait_for(self, many: int) -> None:
        """Wait until so many have arrived."""
        self._target.wait_for(many, within_s=60 + many / 20)

    def arrivals(self, many: int) -> list[int]:
        """Wait until so many have arrived and are settled; return when each arrived."""
        self.wait_for(many)
        while self._door.ask("GET", f"{self._path}/ledger")["open"]:
            time.sleep(0.1)
        return self._target.arrivals()


class Floor:
    """The bare loop."""

    def __init__(self, stage: Stage) -> None:
        self._target = Target(stage.target_port)
        self._program = stage.program("bench.floors.deliveries", stage.db_uri("floor_deliveries"),
                                      str(stage.target_port), str(AT_ONCE))
        self.durability = self._program.hello

    def drained(self, many: int) -> list[int]:
        """Deliver so many; return when each arrived."""
        self._target.forget()
        self._program.ask(ids=[new_id() for _ in range(many)], body=json.dumps(CUSTOMER))
        self._target.wait_for(many, within_s=10)
        return self._target.arrivals()


class Callers:
    """As many calls at once, and nothing around them."""

    def __init__(self, stage: Stage, at_once: int) -> None:
        self._target, self._at_once = Target(stage.target_port), at_once
        self._program = stage.program("bench.floors.callers", str(stage.target_port))

    def drained(self, many: int) -> list[int]:
        """Bring so many; return when each arrived."""
        self._target.forget()
        self._program.ask(ids=[new_id() for _ in range(many)], body=json.dumps(CUSTOMER), at_once=self._at_once)
        return self._target.arrivals()


def measure(database: str, rounds: int) -> tuple[list[Comparison], dict[str, Any]]:
    """Return the comparisons, and the durability settings that both sides had."""
    with Stage(database) as stage:
        product, floor = Product(stage, open_door(stage), AT_ONCE), Floor(stage)
        settings = assert_equal(floor.durability, of_product(stage.db_uri("integrations")))
        floor.drained(MANY), product.drained(MANY)
        measured = alternate(rounds, lambda: rate(floor.drained(MANY)), lambda: rate(product.drained(MANY)))
    made = [Comparison("deliveries, a target that answers at once", "1/s", [least for least, _ in measured],
                       [ours for _, ours in measured], "more", 0.5, 0.5)]
    made += _at_a_slow_target(database, rounds)
    return made + ([_side_by_side(rounds)] if database == "postgresql" else []), {"deliveries": settings}


def _at_a_slow_target(database: str, rounds: int) -> list[Comparison]:
    """Return how much a connection makes of a target that takes its time.

    What its calls in flight allow is told twice: what so many bare calls make of this target on this machine, and, for
    information, what they would make if neither side took any time but the target's.
    """
    made = []
    with Stage(database, SLOW_MS) as stage:
        door = open_door(stage)
        for in_flight in (FEW, AT_ONCE):
            bare, ours = (partial(_rated, side, MANY // 2)
                          for side in (Callers(stage, in_flight), Product(stage, door, in_flight)))
            bare(), ours()
            measured = alternate(rounds, bare, ours)
            name, rates = f"deliveries, {SLOW_MS:g} ms target, {in_flight} in flight", [one for _, one in measured]
            made += [Comparison(name, "1/s", [one for one, _ in measured], rates, "more", 0.9, 0.9),
                     Comparison(f"{name}, of {in_flight / SLOW_MS * 1000:g}/s", "1/s",
                                [in_flight / SLOW_MS * 1000] * rounds, rates, "more")]
    return made


def _rated(side: Callers | Product, many: int) -> float:
    """Let so many be brought; return how many a second were."""
    return rate(side.drained(many))


def _side_by_side(rounds: int) -> Comparison:
    """Return what two processes bring in the time of one, where a process has only so many calls of its own."""
    with Stage("postgresql", FAR_MS) as stage:
        product = Product(stage, open_door(stage, INTEGRATIONS_MAX_CALLS=str(FEW)), AT_ONCE)

        def two() -> float:
            second = stage.start_room("integrations")
            second.wait_ready(60)
            both = rate(product.drained(MANY // 4))
            second.terminate()
            return both

        measured = alternate(rounds, lambda: rate(product.drained(MANY // 4)), two)
    return Comparison(f"deliveries, {FAR_MS:g} ms target, two processes for one", "1/s", [one for one, _ in measured],
                      [both for _, both in measured], "more", 1.6, 1.6)


def open_door(stage: Stage, **settings: str) -> Door:
    """Start the rooms that bring a delivery; what they announce ends in a queue that keeps little."""
    stage.bind_sink(DELIVERY_SETTLED.exchange, "#", "bench.settled", **{"x-max-length": 1000})
    return stage.start_product(ROOMS, **settings)
