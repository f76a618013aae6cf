"""Rows 20 to 26 and 30 of the fault matrix from end to end: real changes, a real broker, two processes that bring them.

Customers are created and changed by requests to their service. One target turns bad meanwhile, in each test otherwise;
another takes the same changes and has to have them all before the first is well again. The oracle is outside: what was
acknowledged, against what the targets hold.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import eventlet
import pytest

from chassis.database import new_id
from contracts import customers
from contracts import integrations as contract
from hub_adapter.conformance.server import Answer, Request
from tests.service.integrations.test_bad_answers import cut_off, drip, no_json, ten_gigabytes
from tests.support.broker import Management, Vhost
from tests.support.chaos_proxy import ChaosProxy
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.migrated import bring_up_to_date
from tests.support.plugged import plug_in
from tests.support.processes import Process, Processes, eventually
from tests.support.rooms import PATIENT, Rooms

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]
CUSTOMERS, VERSIONS = 30, 3
ASKED_S = 4
REFUSAL = "name: 不可接受"
FOR_EVER = 10**6


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

    def start(self, *rooms: str) -> None:
        started = [self.processes.room(room, self.environ, wait_s=None) for room in rooms]
        for process in started:
            process.wait_ready()
        self.workers = [process for process in started if process.name == "integrations"]

    def file(self, room: str) -> Path:
        return self.rooms.home / f"{room}.sqlite"

    def customers(self) -> dict[str, int]:
        """Return every customer that there is, read past the hub: id → version."""
        with closing(sqlite3.connect(self.file("customers"))) as opened:
            return dict(opened.execute("SELECT id, version FROM customer"))

    def back_up(self) -> Path:
        """Copy the database of the integrations service as it is now."""
        copy = self.rooms.home / "yesterday.sqlite"
        with closing(sqlite3.connect(self.file("integrations"))) as one, closing(sqlite3.connect(copy)) as other:
            one.backup(other)
        return copy

    def restore(self, copy: Path) -> None:
        """Do what the page of the integrations service says about an older database."""
        for process in self.workers:
            process.terminate()
        for rest in self.rooms.home.glob("integrations.sqlite-*"):
            rest.unlink()
        copy.replace(self.file("integrations"))
        for queue in self.broker.list_queues(self.vhost.name):
            if queue.startswith("evt.integrations."):
                self.broker.delete_queue(self.vhost.name, queue)
        self.start("integrations", "integrations")


@pytest.fixture(scope="module")
def site(broker: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("hub")
    broker.start()
    vhost = broker.create_vhost()
    made = Site(Rooms(home, vhost.amqp_uri), broker, vhost, Processes(home))
    made.rooms.patience = PATIENT
    made.prepare()
    try:
        made.start("customers", "integrations", "integrations")
        yield made
    finally:
        made.processes.stop_all()
        made.rooms.stop_all()
        broker.delete_vhost(vhost.name)


@pytest.fixture
def rooms(site: Site) -> Rooms:
    return site.rooms


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


class Choosy(Target):
    """Takes no customer whose name says so."""

    def answer(self, request: Request) -> Answer:
        return Answer.of({"message": REFUSAL}, 422) if b"unwelcome" in request.body else super().answer(request)


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

    def ends_with(self, wanted: dict[str, int], within_s: float) -> None:
        """Wait until exactly this stands at the target, each record once and as it was acknowledged last."""
        of = self.target.of
        eventually(lambda: {row.key: row.source_version for row in of("customer")} == wanted, within_s)
        eventually(lambda: self.ledger()["open"] == 0)
        assert len(of("customer")) == len(wanted)
        assert {row.key: int(row.body["name"].rpartition("-")[2]) for row in of("customer")} == wanted
        assert self.target.stale == []
        assert self.ledger()["balanced"]

    def ledger(self) -> dict[str, Any]:
        told: dict[str, Any] = self.rooms.call(contract.GET_LEDGER, {"id": self.id})
        return told


Carry = Callable[..., Carried]


@pytest.fixture
def carry(rooms: Rooms) -> Iterator[Carry]:
    """Makes a target with a connection; both go with the test."""
    made: list[Carried] = []

    def make(target: Target, **options: Any) -> Carried:
        made.append(Carried(rooms, target, **options))
        return made[-1]

    yield make
    for one in made:
        rooms.call(contract.STOP_CONNECTION, {"id": one.id})
        one.target.close()


@pytest.fixture
def well(carry: Carry) -> Carried:
    """The other target, at which all is well."""
    return carry(Target())


def change(rooms: Rooms, id: str, version: int, name: str) -> int:
    """Change a customer that is at this version; return the next."""
    asked = {"id": id, "expected_version": version, "changes": {"name": f"{name}-{version + 1}"}}
    rooms.call(customers.CHANGE_CUSTOMER, asked, key=f"{id}-{version}")
    return version + 1


def written(rooms: Rooms, name: Callable[[int], str] = "c-{}".format) -> dict[str, int]:
    """Create customers and change each again and again, eight at once; return the last acknowledged version by id."""

    def write(number: int) -> tuple[str, int]:
        story = new_id()
        made = rooms.call(customers.CREATE_CUSTOMER, {"name": f"{name(number)}-1", "wechat_id": story}, key=story)
        for version in range(1, VERSIONS):
            change(rooms, made["id"], version, name(number))
        return made["id"], VERSIONS

    return dict(eventlet.GreenPool(8).imap(write, range(CUSTOMERS)))


def test_a_target_that_asks_for_a_pause_gets_it_and_then_every_record(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Target())
    bad.target.fail(method="POST", skip=5, status=429, headers={"Retry-After": str(ASKED_S)})

    wanted = written(rooms)

    well.ends_with(wanted, 60)
    assert well.shown["throttled_until"] is None
    bad.ends_with(wanted, 60)
    calls = sorted(seen.at for seen in bad.target.seen)
    assert max(later - one for one, later in itertools.pairwise(calls)) > ASKED_S / 2, "but for what was on the wire"


def test_a_target_that_fails_for_a_while_is_left_alone_and_takes_every_record_once_it_is_back(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Target())
    down = bad.target.fail(skip=20, times=FOR_EVER, status=500)

    wanted = written(rooms)

    well.ends_with(wanted, 60)
    eventually(lambda: bad.shown["health"] == "open")
    down.times = 0
    bad.ends_with(wanted, 90)
    assert bad.deliveries("dead") == []


def test_answers_lost_before_and_after_the_target_has_done_it_leave_each_record_once(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Target())
    for method, drop in itertools.product(("POST", "PUT"), ("before", "after")):
        bad.target.fail(method=method, skip=8, times=3, drop=drop)

    wanted = written(rooms)

    well.ends_with(wanted, 60)
    bad.ends_with(wanted, 90)
    assert bad.deliveries("dead") == []


def test_records_that_are_refused_are_dead_with_their_reason_and_all_others_arrive(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Choosy())

    wanted = written(rooms, lambda number: f"c-{number}" if number % 6 else f"unwelcome-{number}")

    well.ends_with(wanted, 60)
    unwelcome = {row.key for row in well.target.of("customer") if row.body["name"].startswith("unwelcome")}
    bad.ends_with({id: version for id, version in wanted.items() if id not in unwelcome}, 60)
    dead = bad.deliveries("dead")
    assert {one["local_id"] for one in dead} == unwelcome
    assert {one["error_class"] for one in dead} == {"invalid"}
    assert all(REFUSAL in one["last_error"] for one in dead)


def test_answers_that_are_none_are_given_up_and_leave_each_record_once(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Target())
    for rubbish in (cut_off, drip, no_json, ten_gigabytes):
        bad.target.fail(method="POST", skip=8, instead=rubbish)

    wanted = written(rooms)

    well.ends_with(wanted, 60)
    bad.ends_with(wanted, 90)
    assert bad.deliveries("dead") == []


def test_a_token_that_ends_under_two_processes_is_traded_once_and_every_record_arrives(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Target(), adapter="fake_trading")
    bad.target.expire()

    wanted = written(rooms)

    well.ends_with(wanted, 60)
    bad.ends_with(wanted, 60)
    assert bad.target.traded == 1
    assert bad.deliveries("dead") == []


def test_a_line_that_goes_dead_and_a_slow_one_lose_and_double_nothing(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    target = Target()
    host, port = target.url.removeprefix("http://").split(":")
    with ChaosProxy((host, int(port)), delay_s=0.02, bytes_per_s=20_000) as link:
        bad = carry(target, base_url=f"http://127.0.0.1:{link.port}")
        wanted = written(rooms)
        bad.ends_with(wanted, 60)
        link.mode = "blackhole"
        wanted |= written(rooms)
        well.ends_with(wanted, 60)
        eventually(lambda: bad.deliveries("in_doubt") or bad.deliveries("retry_wait"))
        link.mode = "pass"
        bad.ends_with(wanted, 120)
    assert bad.deliveries("dead") == []


def test_a_restored_database_lets_nothing_older_out_and_a_reconciliation_mends_what_is_left(
    site: Site, rooms: Rooms, carry: Carry
) -> None:
    ahead = carry(Target(), adapter="fake_listed")
    wanted = written(rooms)
    ahead.ends_with(wanted, 60)
    rooms.call(contract.PAUSE_CONNECTION, {"id": ahead.id, "reason": "a backup"})
    (as_then, *changed), waiting = list(wanted)[:6], written(rooms)
    eventually(lambda: ahead.ledger()["open"] == CUSTOMERS)
    yesterday = site.back_up()
    rooms.call(contract.RESUME_CONNECTION, {"id": ahead.id})
    since = {id: change(rooms, id, VERSIONS, "c") for id in [*changed, *waiting]} | written(rooms)
    wanted |= since
    ahead.ends_with(wanted, 60)
    [gone] = [row.id for row in ahead.target.of("customer") if row.key == as_then]
    ahead.target.remove(gone)
    stood = {row.id: row.source_version for row in ahead.target.of("customer")}

    site.restore(yesterday)
    eventually(lambda: since.items() <= ahead.waiting(), 60)
    rooms.call(contract.RESUME_CONNECTION, {"id": ahead.id})
    eventually(lambda: ahead.ledger()["open"] == 0, 60)
    assert {row.id: row.source_version for row in ahead.target.of("customer")} == stood
    asked = {"connection_id": ahead.id, "kind": "reconcile", "entity": "customer"}
    run = rooms.call(contract.START_RUN, asked, key=new_id())["id"]
    eventually(lambda: rooms.call(contract.GET_RUN, {"id": run})["state"] == "awaiting_approval")
    told = rooms.call(contract.GET_RUN, {"id": run})
    rooms.call(contract.APPROVE_RUN, {"id": run, "count": told["to_confirm"]}, key=new_id())

    everything = site.customers()
    assert wanted.items() <= everything.items()
    ahead.ends_with(everything, 60)  # those of the tests before had never been sent there
    assert told["to_confirm"] == len(everything) - len(stood)
