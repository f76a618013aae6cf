"""A replay counts what a filter finds, asks, and sends it again: once, slowly, and nothing that was replaced since."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from chassis.database import new_id, utcnow
from contracts.errors import Conflict
from services.integrations.engine.runs import replay
from services.integrations.models import Delivery, Record, Run
from services.integrations.operations import intake, replays, runs
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_backfill import page, take
from tests.support.fake_target import FakeTarget


def approve(hub: Hub, run: str, count: int) -> None:
    with hub.db.write() as session:
        runs.approve(session, {"id": run, "count": count}, utcnow(), by=ADMIN)
    hub.engine.runner.wake()


def test_what_is_dead_is_counted_rehearsed_and_sent_again_once_that_number_is_confirmed(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    hub.start(hub.engine.runner)
    target.fail(method="POST", status=422, times=3)
    ids = sorted(hub.customer() for _ in range(3))
    for id in ids:
        hub.until(id, "dead")
    hub.customer(2, ids[2])
    hub.until(ids[2], "dead", "delivered")

    run = hub.start_run(connection_id, "replay", filter={"error_class": "invalid"}, reason="the codes are known now")
    asking = hub.until_run(run, "awaiting_approval")
    assert (asking.counts, asking.total) == ({"to_confirm": 2}, 2)
    with pytest.raises(Conflict, match="would do 2, not 3"):
        approve(hub, run, 3)
    assert [len(hub.deliveries(id)) for id in ids] == [1, 1, 2]
    approve(hub, run, 2)

    done = hub.until_run(run, "completed")
    assert done.counts == {"accepted": 2, "no_copy": 0, "overtaken": 0, "seen": 2, "to_confirm": 2}
    for id in ids[:2]:
        hub.until(id, "dead", "delivered")
        dead, again = hub.deliveries(id)
        assert (again.replay_of, again.origin, again.idempotency_key) == (dead.id, "replay", dead.idempotency_key)
    assert hub.ledger(connection_id).balanced
    nothing = hub.until_run(hub.start_run(connection_id, "replay"), "completed")
    assert nothing.counts == {"to_confirm": 0}


@on_sqlite
def test_what_was_delivered_goes_again_only_by_force_and_then_under_a_key_of_its_own(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    hub.until(id := hub.customer(), "delivered")
    [row] = target.of("customer")
    row.body = {"name": "restored from an old backup"}

    def replayed(state: str, count: int, *, force: bool = False) -> Run:
        run = hub.start_run(connection_id, "replay", filter={"state": state, "local_id": id}, force=force,
                            reason="restored there")
        page(hub, take(hub))
        if count:
            approve(hub, run, count)
            page(hub, take(hub))
        return hub.the_run(run)

    assert replayed("delivered", 1).counts["accepted"] == 1
    hub.until(id, "delivered", "skipped")
    assert replayed("delivered", 0).counts == {"to_confirm": 0}  # something newer has come after it
    replayed("skipped", 1, force=True)
    hub.until(id, "delivered", "skipped", "delivered")
    assert row.body["name"] == "v1"
    forced = hub.deliveries(id)[2]
    assert (forced.origin, forced.idempotency_key) == ("forced", f"customer-{id}-1-upsert-{forced.id}")


@on_sqlite
def test_no_more_than_a_quarter_of_the_connections_rate_is_accepted(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", rate_per_s=4.0, burst=1000)
    hub.run()
    target.fail(method="POST", status=422, times=7)
    ids = [hub.customer() for _ in range(7)]
    for id in ids:
        hub.until(id, "dead")
    run = hub.start_run(connection_id, "replay")
    assert page(hub, take(hub)) is None
    approve(hub, run, 7)
    before = utcnow()
    assert page(hub, take(hub)) is None
    waits = hub.the_run(run)
    assert (waits.state, waits.counts["accepted"]) == ("running", 5)  # five seconds of one call each
    assert 5 <= (waits.due_at - before).total_seconds() < 65
    with hub.db.write() as session:
        session.get_one(Run, run).due_at = before
    assert page(hub, take(hub)) is None
    assert hub.the_run(run).state == "completed"
    assert {row.priority for row in hub.rows(Delivery, Delivery.origin == "replay")} == {1}


@on_sqlite
def test_what_may_have_arrived_is_sent_again_only_by_whoever_names_its_class_page_by_page(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = hub.connect(target, "customer", adapter="fake_blind")
    monkeypatch.setattr(replay, "PAGE", 2)
    hub.run()
    hub.start(hub.engine.runner)
    target.fail(method="POST", drop="before", times=3)
    ids = [hub.customer() for _ in range(3)]
    for id in ids:
        hub.until(id, "dead")
        assert hub.deliveries(id)[0].error_class == "unresolvable"

    assert hub.until_run(hub.start_run(connection_id, "replay"), "completed").counts == {"to_confirm": 0}
    run = hub.start_run(connection_id, "replay", filter={"error_class": "unresolvable"})
    hub.until_run(run, "awaiting_approval")
    approve(hub, run, 3)

    for id in ids:
        hub.until(id, "dead", "delivered")


@on_sqlite
def test_a_record_that_was_deleted_here_is_not_made_there_again(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    target.fail(method="POST", status=422)
    hub.until(id := hub.customer(), "dead")
    run = hub.start_run(connection_id, "replay")
    page(hub, take(hub))
    with hub.db.write() as session:
        session.execute(sa.update(Record).where(Record.id == id).values(deleted=True))

    approve(hub, run, 1)
    page(hub, take(hub))

    assert hub.the_run(run).counts["deleted"] == 1
    assert hub.states(id) == ["dead"]
    [dead] = hub.deliveries(id)
    with pytest.raises(Conflict, match="deleted here"), hub.db.write() as session:
        replays.retry(session, {"id": dead.id}, utcnow(), by=ADMIN)


@on_sqlite
def test_what_waits_already_is_not_accepted_twice(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.customer(2, id := new_id())  # no engine runs: it waits
    with hub.db.write() as session:
        now = utcnow()
        plan = intake.plan(connection_id, "customer", id, "upsert", 2, now)
        intake.add(session, [plan | {"state": "skipped", "settled_at": now}])
    run = hub.start_run(connection_id, "replay", filter={"state": "skipped"})
    page(hub, take(hub))

    approve(hub, run, 1)
    page(hub, take(hub))

    assert (hub.the_run(run).counts["overtaken"], sorted(hub.states(id))) == (1, ["pending", "skipped"])


@on_sqlite
def test_nothing_is_replayed_over_a_route_that_is_switched_off(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target)
    with pytest.raises(Conflict, match="No active route"):
        hub.start_run(connection_id, "replay")
