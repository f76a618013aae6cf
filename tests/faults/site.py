"""Customers that are created and changed by requests to their service, and targets that they are brought to.

The customers service and two processes of the integrations service run as they do in production, on SQLite and a broker
of their own. The oracle is outside: what was acknowledged, against what the targets hold.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import eventlet

from chassis.database import new_id
from contracts import customers, errors
from contracts import integrations as contract
from contracts.envelope import CONTENT_TYPE
from contracts.operation import Operation
from hub_adapter.conformance.server import Answer, Request
from tests.support.broker import Management, Vhost
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.migrated import bring_up_to_date
from tests.support.plugged import plug_in
from tests.support.processes import Process, Processes, eventually
from tests.support.rooms import Rooms

CUSTOMERS, VERSIONS = 30, 3
ANSWER_S = 3.0


@dataclass(frozen=True)
class Event:
    """One event as it travels."""

    exchange: str
    routing_key: str
    subject: str
    body: str


@dataclass
class Site:
    """The customers service and two processes of integrations, and the caller of their operations."""

    rooms: Rooms
    broker: Management
    vhost: Vhost
    processes: Processes
    environ: dict[str, str] = field(default_factory=dict)
    workers: list[Process] = field(default_factory=list)

    def prepare(self) -> None:
        self.environ = {"AMQP_URI": self.vhost.amqp_uri, "PYTHONPATH": plug_in(self.rooms.home / "plugged"),
                        "INTEGRATIONS_CALL_DEADLINE_S": "5"}
        for room in ("customers", "integrations"):
            self.environ[f"DB_URI_{room.upper()}"] = uri = f"sqlite:///{self.file(room)}"
            bring_up_to_date(room, uri)

    def start(self, *rooms: str, **environ: str) -> None:
        started = [self.processes.room(room, self.environ | environ, wait_s=None) for room in rooms]
        for process in started:
            process.wait_ready()
        self.workers += [process for process in started if process.name == "integrations"]

    def stop_workers(self) -> None:
        """Let the processes of the integrations service end what they have in hand."""
        while self.workers:
            self.workers.pop().terminate()

    def file(self, room: str) -> Path:
        return self.rooms.home / f"{room}.sqlite"

    def read(self, room: str, select: str) -> list[Any]:
        """Return rows of a room's database, read past the hub."""
        with closing(sqlite3.connect(self.file(room))) as opened:
            return opened.execute(select).fetchall()

    def customers(self) -> dict[str, int]:
        """Return every customer that there is: id → version."""
        return dict(self.read("customers", "SELECT id, version FROM customer"))

    def back_up(self) -> Path:
        """Copy the database of the integrations service as it is now."""
        copy = self.rooms.home / "yesterday.sqlite"
        with closing(sqlite3.connect(self.file("integrations"))) as one, closing(sqlite3.connect(copy)) as other:
            one.backup(other)
        return copy

    def restore(self, copy: Path) -> None:
        """Do what the page of the integrations service says about an older database."""
        self.stop_workers()
        for rest in self.rooms.home.glob("integrations.sqlite-*"):
            rest.unlink()
        copy.replace(self.file("integrations"))
        self.delete_queues()
        self.start("integrations", "integrations")

    @property
    def queues(self) -> list[str]:
        """The queues on which the integrations service hears, and those of what it could not take."""
        return [queue for queue in self.broker.list_queues(self.vhost.name) if queue.startswith("evt.integrations.")]

    def delete_queues(self) -> None:
        for queue in self.queues:
            self.broker.delete_queue(self.vhost.name, queue)

    def events(self) -> list[Event]:
        """Return every event that the customers service keeps, once the broker has them all."""
        eventually(lambda: not self.read("customers", "SELECT id FROM outbox WHERE sent_at IS NULL"))
        kept = self.read("customers", "SELECT exchange, routing_key, subject, body FROM outbox")
        return [Event(*row) for row in kept]

    def publish(self, event: Event) -> None:
        """Give the broker an event as a service does."""
        taken = self.broker.publish(self.vhost.name, event.exchange, event.routing_key, event.body, delivery_mode=2,
                                    content_type=CONTENT_TYPE, content_encoding="utf-8", message_id=new_id())
        assert taken


class Target(FakeTarget):
    """Makes two records of one key if it is told to, and notes each version that came after a newer one."""

    def __init__(self) -> None:
        self.stale: list[Request] = []
        super().__init__()
        self.unique = False

    def answer(self, request: Request) -> Answer:
        row = self.rows.get(request.path.rpartition("/")[2])
        if request.method == "PUT" and row and request.json()["source_version"] < row.source_version:
            self.stale.append(request)
        return super().answer(request)


class Carried:
    """A target, and the connection that brings it every customer."""

    def __init__(self, rooms: Rooms, target: Target, adapter: str = "fake", **config: Any) -> None:
        self.rooms, self.target = rooms, target
        made = rooms.call(contract.CREATE_CONNECTION, {
            "name": f"c {new_id()}", "adapter": adapter, "config": target.config | config})
        self.id: str = made["id"]
        rooms.call(contract.PUT_CREDENTIAL, {"id": self.id, "secrets": {"key": GOOD_KEY}})
        assert rooms.call(contract.CHECK_CONNECTION, {"id": self.id})["ok"]
        route = rooms.call(contract.CREATE_ROUTE, {
            "connection_id": self.id, "entity": "customer", "direction": "push"})
        rooms.call(contract.ACTIVATE_ROUTE, {"id": route["id"]})

    @property
    def shown(self) -> dict[str, Any]:
        told: dict[str, Any] = self.rooms.call(contract.GET_CONNECTION, {"id": self.id})
        return told

    def deliveries(self, state: str) -> list[dict[str, Any]]:
        asked = {"connection_id": self.id, "state": state, "limit": 200}
        told: list[dict[str, Any]] = self.rooms.call(contract.LIST_DELIVERIES, asked)["items"]
        return told

    def waiting(self) -> set[tuple[str, int]]:
        """Return the records that wait here, each with the version that it would be brought in."""
        return {(one["local_id"], one["source_version"]) for one in self.deliveries("pending")}

    def ends_with(self, wanted: Mapping[str, int], within_s: float, besides: Mapping[str, int] | None = None) -> None:
        """Wait until exactly this stands at the target, each record once and as it was acknowledged last.

        `besides` are records of the tests before, which may be there too: what is told again is not asked for by test.
        """
        of, others = self.target.of, dict(besides or {})

        def stands() -> dict[str, int]:
            return {row.key: row.source_version for row in of("customer")}

        eventually(lambda: wanted.items() <= stands().items() <= (others | dict(wanted)).items(), within_s)
        eventually(lambda: self.ledger()["open"] == 0)
        assert len(of("customer")) == len(stands())
        assert {row.key: int(row.body["name"].rpartition("-")[2]) for row in of("customer")} == stands()
        assert wanted.items() <= stands().items() <= (others | dict(wanted)).items()
        assert self.target.stale == []
        assert self.ledger()["balanced"]

    def ledger(self) -> dict[str, Any]:
        told: dict[str, Any] = self.rooms.call(contract.GET_LEDGER, {"id": self.id})
        return told


Carry = Callable[..., Carried]


class Insistent:
    """A caller who asks again, under the same key, until there is an answer."""

    def __init__(self, rooms: Rooms) -> None:
        self.refusals: list[errors.HubError] = []
        self._rooms = rooms

    def call(self, operation: Operation, request: dict[str, Any], *, key: str) -> Any:
        while True:
            try:
                return self._rooms.call(operation, request, key=key, timeout_s=ANSWER_S)
            except (errors.Unavailable, errors.DeadlineExceeded, errors.DuplicateInFlight) as refusal:
                self.refusals.append(refusal)
                eventlet.sleep(0.1)


def change(rooms: Rooms | Insistent, id: str, version: int, name: str) -> int:
    """Change a customer that is at this version; return the next."""
    asked = {"id": id, "expected_version": version, "changes": {"name": f"{name}-{version + 1}"}}
    rooms.call(customers.CHANGE_CUSTOMER, asked, key=f"{id}-{version}")
    return version + 1


def written(rooms: Rooms | Insistent, name: Callable[[int], str] = "c-{}".format) -> dict[str, int]:
    """Create customers and change each again and again, eight at once; return the last acknowledged version by id."""

    def write(number: int) -> tuple[str, int]:
        story = new_id()
        made = rooms.call(customers.CREATE_CUSTOMER, {"name": f"{name(number)}-1", "wechat_id": story}, key=story)
        for version in range(1, VERSIONS):
            change(rooms, made["id"], version, name(number))
        return made["id"], VERSIONS

    return dict(eventlet.GreenPool(8).imap(write, range(CUSTOMERS)))
