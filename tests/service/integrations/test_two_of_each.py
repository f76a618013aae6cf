"""Row 31 of the fault matrix: two processes of each service on one database, each with relay, dispatcher and sweeper.

What one of them has in hand the other leaves alone; what one leaves behind, killed, the other takes up. The oracle is
the target: each record once, as it was last acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import eventlet
import pytest
import sqlalchemy as sa

from chassis.database import Database
from chassis.outbox import OUTBOX
from contracts import customers
from tests.service.integrations.conftest import Hub
from tests.support.fake_target import FakeTarget
from tests.support.migrated import bring_up_to_date, create_migrated
from tests.support.plugged import plug_in
from tests.support.processes import Process, Processes, eventually
from tests.support.rooms import PATIENT, Rooms

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]
CUSTOMERS, VERSIONS = 40, 4


@pytest.fixture
def rooms(processes: Processes, amqp_uri: str) -> Iterator[Rooms]:
    """The caller of the processes' operations."""
    made = Rooms(processes.home, amqp_uri)
    made.patience = PATIENT
    yield made
    made.stop_all()


@pytest.fixture
def hub(rooms: Rooms, processes: Processes, db_uri: str) -> Iterator[Hub]:
    made = Hub(rooms.home, db_uri)
    yield made
    processes.stop_all()
    made.close()


@pytest.fixture
def customers_uri(request: pytest.FixtureRequest, db_uri: str, processes: Processes) -> Iterator[str]:
    """A database of the same kind for the customers service."""
    if db_uri.startswith("sqlite"):
        uri = f"sqlite:///{processes.home / 'customers.sqlite'}"
        bring_up_to_date("customers", uri)
        yield uri
    else:
        cluster = request.getfixturevalue("postgres")
        name = create_migrated(cluster, "customers")
        yield cluster.uri(name)
        processes.stop_all()
        cluster.drop_database(name)


@pytest.fixture
def pairs(processes: Processes, hub: Hub, customers_uri: str, db_uri: str, amqp_uri: str,
          tmp_path: Path) -> dict[str, list[Process]]:
    environ = {"AMQP_URI": amqp_uri, "DB_URI_INTEGRATIONS": db_uri, "DB_URI_CUSTOMERS": customers_uri,
               "PYTHONPATH": plug_in(tmp_path / "plugged")}
    started = {room: [processes.room(room, environ, wait_s=None) for _ in range(2)]
               for room in ("customers", "integrations")}
    for process in (process for pair in started.values() for process in pair):
        process.wait_ready()
    return started


def write(rooms: Rooms, number: int) -> dict[str, int]:
    """Create a customer and change it again and again; return its last acknowledged version by id."""
    made = rooms.call(customers.CREATE_CUSTOMER, {"name": f"c-{number}-1", "wechat_id": f"w-{number}"},
                      key=f"create-{number}")
    for version in range(1, VERSIONS):
        change = {"id": made["id"], "expected_version": version, "changes": {"name": f"c-{number}-{version + 1}"}}
        rooms.call(customers.CHANGE_CUSTOMER, change, key=f"change-{number}-{version}")
    return {made["id"]: VERSIONS}


def unsent(db: Database) -> int | None:
    with db.read() as session:
        return session.scalar(sa.select(sa.func.count()).where(OUTBOX.c.sent_at.is_(None)))


@pytest.mark.parametrize("one_dies", [False, True], ids=["both-live", "one-dies"])
def test_two_processes_of_each_service_bring_every_record_once_and_in_its_newest_version(
    hub: Hub, rooms: Rooms, target: FakeTarget, pairs: dict[str, list[Process]], customers_uri: str, one_dies: bool
) -> None:
    connection_id = hub.connect(target, "customer")
    pool = eventlet.GreenPool(8)
    acknowledged: dict[str, int] = {}
    for number, versions in enumerate(pool.imap(lambda n: write(rooms, n), range(CUSTOMERS))):
        acknowledged |= versions
        if one_dies and number == CUSTOMERS // 2:
            pairs["integrations"][0].kill()

    eventually(lambda: {row.key: row.source_version for row in target.of("customer")} == acknowledged, 60)
    eventually(lambda: hub.ledger(connection_id).open == 0, 60)

    assert len(target.of("customer")) == CUSTOMERS
    assert {row.body["name"].rpartition("-")[2] for row in target.of("customer")} == {str(VERSIONS)}
    assert hub.ledger(connection_id).balanced
    sender = Database(customers_uri)
    eventually(lambda: unsent(sender) == 0)  # an event is marked after it has gone
    sender.close()
    if not one_dies:
        assert len(target.calls("POST")) == CUSTOMERS, "nothing was tried twice"
