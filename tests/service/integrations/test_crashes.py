"""Real processes, killed or stopped at the worst moment: the target has one record, and the newest version of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chassis.database import Database, new_id, utcnow
from contracts.errors import Unavailable
from services.integrations.engine.runs import backfill
from services.integrations.models import Binding, Delivery
from services.integrations.operations import runs
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_reconciling import World
from tests.support.fake_target import FakeTarget
from tests.support.plugged import plug_in
from tests.support.processes import Process, Processes, eventually
from tests.support.rooms import make_keys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
Start = Callable[..., Process]
FIRST_PAGE = 4
"""Records that the fake target lists at once."""


@pytest.fixture
def hub(processes: Processes, db_uri: str) -> Iterator[Hub]:
    """The tables and the events; the engine runs in processes of their own."""
    make_keys(processes.home)
    made = Hub(processes.home, db_uri)
    yield made
    processes.stop_all()
    made.close()


@pytest.fixture
def start(hub: Hub, processes: Processes, db_uri: str, amqp_uri: str, tmp_path: Path) -> Start:
    """Starts the integrations service as a process that has the fake adapters plugged in from outside."""
    python_path = plug_in(tmp_path / "plugged")

    def begin(**environ: str) -> Process:
        return processes.room("integrations", {
            "AMQP_URI": amqp_uri, "DB_URI_INTEGRATIONS": db_uri, "PYTHONPATH": python_path, **environ})

    return begin


@pytest.mark.parametrize("moment", ["engine.before_call", "engine.after_call", "engine.before_settle"])
def test_a_kill_around_the_call_leaves_one_record_within_thirty_seconds(
    hub: Hub, target: FakeTarget, start: Start, moment: str
) -> None:
    connection_id = hub.connect(target, "customer")
    doomed = start(HUB_FAILPOINTS=f"{moment}=kill")
    id = hub.customer()
    eventually(lambda: not doomed.alive(), 20)
    assert len(target.of("customer")) == (0 if moment == "engine.before_call" else 1)
    assert hub.states(id) == ["leased"]

    start()

    hub.until(id, "delivered", timeout_s=30)
    assert len(target.of("customer")) == 1
    assert hub.binding(id).acked_version == 1
    assert hub.ledger(connection_id).balanced


@pytest.mark.faults
def test_a_process_told_to_stop_ends_the_calls_in_hand_and_leaves_the_rest_to_another(
    hub: Hub, target: FakeTarget, start: Start
) -> None:
    connection_id = hub.connect(target, "customer", max_in_flight=4)
    slow = target.fail(method="POST", times=1000, delay_s=1.0)
    ending = start()
    ids = [hub.customer() for _ in range(20)]
    eventually(lambda: len(target.calls("POST")) >= 4, 30)

    assert ending.terminate(30) == 0
    held = [row.id for row in hub.rows(Delivery) if row.lease_owner is not None or row.state in ("leased", "in_doubt")]
    called = len(target.calls("POST"))
    assert (held, called < len(ids), len(target.of("customer"))) == ([], True, called)

    slow.times = 0
    start()
    for id in ids:
        hub.until(id, "delivered")
    assert len(target.of("customer")) == len(target.calls("POST")) == len(ids)
    assert hub.ledger(connection_id).balanced


@pytest.mark.faults
def test_a_kill_with_deliveries_claimed_ahead_leaves_one_record_of_each(
    hub: Hub, target: FakeTarget, start: Start
) -> None:
    connection_id = hub.connect(target, "customer", max_in_flight=2)
    doomed = start(HUB_FAILPOINTS="engine.slot_passed=kill")
    ids = [hub.customer() for _ in range(30)]
    eventually(lambda: not doomed.alive(), 30)
    assert any(row.ahead for row in hub.rows(Delivery)), "its slot was passed on, and nobody has written it down"

    start()

    for id in ids:
        hub.until(id, "delivered", timeout_s=60)
    assert len(target.of("customer")) == len(ids)
    assert not any(row.ahead for row in hub.rows(Delivery))
    assert hub.ledger(connection_id).balanced


def pause_between_transactions(sleeper: Process, db: Database) -> None:
    """Stop a process, but not amid a transaction: SQLite's one lock would stay with it, and nobody could go on."""
    while True:
        sleeper.pause()
        try:
            with db.write():
                return
        except Unavailable:
            sleeper.resume()


def test_a_worker_stopped_past_its_lease_is_refused_by_the_fence_when_it_wakes(
    hub: Hub, target: FakeTarget, start: Start
) -> None:
    connection_id = hub.connect(target, "customer")
    short = {"INTEGRATIONS_LEASE_S": "3", "INTEGRATIONS_CALL_DEADLINE_S": "2", "INTEGRATIONS_SWEEP_EVERY_S": "0.5"}
    sleeper = start(**short)
    target.fail(method="POST", delay_s=1.0)
    id = hub.customer()
    eventually(lambda: bool(target.calls("POST")), 20)
    pause_between_transactions(sleeper, hub.db)

    start(**short)
    hub.until(id, "delivered", timeout_s=40)
    hub.customer(2, id)
    hub.until(id, "delivered", "delivered", timeout_s=20)
    settled = {row.id: row.settled_at for row in hub.rows(Delivery)}
    sleeper.resume()
    hub.quiet(3.0)

    assert {row.id: row.settled_at for row in hub.rows(Delivery)} == settled
    [row] = target.of("customer")
    assert (row.body["name"], row.source_version) == ("v2", 2)
    assert hub.binding(id).acked_version == 2
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_a_backfill_killed_between_two_pages_goes_on_and_accepts_each_record_once(
    hub: Hub, target: FakeTarget, start: Start
) -> None:
    connection_id = hub.connect(target, "customer")
    with hub.db.write() as session:
        hub.tell_rows(session, [(new_id(), {"name": "x"}) for _ in range(backfill.PAGE + 1)])
    doomed = start(HUB_FAILPOINTS="runs.between_pages=kill")
    run = hub.start_run(connection_id, "backfill", without_matching=True, reason="the target is empty")
    eventually(lambda: not doomed.alive(), 30)
    assert hub.the_run(run).counts == {"accepted": backfill.PAGE, "seen": backfill.PAGE}

    start()

    ended = hub.until_run(run, "completed")
    assert ended.counts == {"accepted": backfill.PAGE + 1, "seen": backfill.PAGE + 1}
    lanes = [row.local_id for row in hub.rows(Delivery)]
    assert len(lanes) == len(set(lanes)) == hub.ledger(connection_id).accepted
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_a_kill_between_two_pages_of_linking_loses_and_doubles_nothing(
    hub: Hub, target: FakeTarget, start: Start
) -> None:
    connection_id = hub.connect(target, adapter="fake_listed")
    ours = [hub.customer(phone=f"+861380013800{n}") for n in range(9)]
    rows = [target.put("customer", f"K-{n}", {"name": f"theirs {n}", "phone": f"1380013800{n}"}) for n in range(9)]
    run_id = hub.start_run(connection_id, "match")
    hub.start(hub.engine.runner)
    hub.until_run(run_id, "awaiting_approval")
    hub.engine.runner.stop()
    doomed = start(HUB_FAILPOINTS="runs.between_pages=kill")
    with hub.db.write() as session:
        runs.approve(session, {"id": run_id, "count": 9}, utcnow(), by=ADMIN)
    eventually(lambda: not doomed.alive(), 30)
    assert len(hub.rows(Binding)) == FIRST_PAGE

    start()

    counts = hub.until_run(run_id, "completed").counts
    assert (counts["linked"], counts.get("not_linked", 0)) == (9, 0)
    assert {row.local_id: row.external_id for row in hub.rows(Binding)} == {
        id: row.id for id, row in zip(ours, rows, strict=True)}
    assert len(target.rows) == 9


@on_sqlite
def test_a_reconciliation_killed_between_two_pages_goes_on_and_mends_once(
    hub: Hub, target: FakeTarget, start: Start
) -> None:
    world = World(hub, target, many=2 * FIRST_PAGE)
    world.edit(edited := world.ids[0])
    doomed = start(HUB_FAILPOINTS="runs.between_pages=kill")
    run_id = hub.start_run(world.connection_id, "reconcile")
    eventually(lambda: not doomed.alive(), 30)
    assert (hub.the_run(run_id).phase, hub.the_run(run_id).counts["listed"]) == ("listing", FIRST_PAGE)

    start()

    assert hub.until_run(run_id, "awaiting_approval").counts["listed"] == 2 * FIRST_PAGE
    with hub.db.write() as session:
        runs.approve(session, {"id": run_id, "count": 1}, utcnow(), by=ADMIN)
    hub.until_run(run_id, "completed")
    hub.until(edited, "delivered")
    assert world.standing() == {(id, f"n{n}"): 1 for n, id in enumerate(world.ids)}
