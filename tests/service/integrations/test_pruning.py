"""What was settled long ago goes, in small batches; what is open or needs a person stays, and the ledger adds up."""

from __future__ import annotations

import datetime as dt
from typing import cast

import pytest
import sqlalchemy as sa

from chassis.database import new_id, utcnow
from services.integrations.domain.deliveries import OPEN, STATES
from services.integrations.engine.pruner import Pruner
from services.integrations.models import Attempt, Conflict, Delivery, Finding, Run
from services.integrations.operations import conflicts, findings, intake, pruning
from tests.service.integrations.conftest import CREATED, UPDATED, Hub
from tests.service.integrations.test_conflicts import refuse
from tests.service.integrations.test_two_ways import connect, task
from tests.support.fake_target import FakeTarget


def pruner(hub: Hub, days_later: float) -> Pruner:
    return Pruner(hub.db, 90, clock=lambda: utcnow() + dt.timedelta(days=days_later))


def test_no_delivery_that_is_open_or_dead_is_ever_pruned(hub: Hub, target: FakeTarget) -> None:
    connection_id, now = hub.connect(target, "customer"), utcnow()
    plans = {state: intake.plan(connection_id, "customer", state, "upsert", 1, now) for state in STATES}
    for state, row in plans.items():
        row |= {"state": state, "settled_at": None if state in OPEN else now}
    with hub.db.write() as session:
        intake.add(session, plans.values())
        session.execute(sa.insert(Attempt), [{"delivery_id": row["id"], "n": 1, "fence": 1, "action": "write",
                                              "started_at": now} for row in plans.values()])

    assert pruner(hub, days_later=89.9).prune() == 0
    assert pruner(hub, days_later=36_500).prune() == 4

    left = {row.state for row in hub.rows(Delivery)}
    assert left == {*OPEN, "dead"}
    assert {one.delivery_id for one in hub.rows(Attempt)} == {plans[state]["id"] for state in left}
    ledger = hub.ledger(connection_id)
    assert (ledger.accepted, ledger.open, ledger.dead, ledger.delivered, ledger.balanced) == (10, 5, 1, 1, True)


def test_an_event_that_comes_again_after_its_delivery_was_pruned_reaches_the_target_once(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    hub.until(id := hub.customer(), "delivered")
    hub.customer(2, id)
    hub.until(id, "delivered", "delivered")
    assert pruner(hub, days_later=91).prune() == 2
    assert hub.deliveries(id) == []
    assert hub.rows(Attempt) == []

    hub.tell(CREATED, id, 1, name="v1")
    hub.tell(UPDATED, id, 2, name="v2")

    hub.until(id, "skipped", "skipped")
    assert [(row.body["name"], row.source_version) for row in target.of("customer")] == [("v2", 2)]
    assert len(target.calls("POST", "PUT")) == 2
    assert hub.ledger(connection_id).balanced

    hub.customer(3, id)
    hub.until(id, "skipped", "skipped", "delivered")
    assert [row.body["name"] for row in target.of("customer")] == ["v3"]


def test_what_was_asked_of_a_record_stays_while_a_conflict_about_it_is_open(hub: Hub, target: FakeTarget) -> None:
    connection_id, now = connect(hub, target, "task"), utcnow()
    ids = {name: new_id() for name in ("disputed", "decided")}
    hub.run()
    for id in ids.values():
        hub.until(task(hub, 1, id), "delivered")
        task(hub, 2, id, kind="deleted")
        hub.until(id, "delivered", "delivered")
        refuse(hub, connection_id, f"there-{id}", id, code="still_there")
    with hub.db.write() as session:
        session.execute(sa.update(Conflict).where(Conflict.local_id == ids["decided"]).values(state="resolved"))

    assert pruner(hub, days_later=91).prune() == 2

    assert hub.deliveries(ids["decided"]) == []
    assert [row.op for row in hub.deliveries(ids["disputed"])] == ["upsert", "delete"]
    with hub.db.write() as session:
        [conflict] = session.scalars(sa.select(Conflict).where(Conflict.state == "open"))
        conflicts.keep_local(session, conflict, now)
    assert hub.deliveries(ids["disputed"])[-1].op == "delete"
    assert hub.ledger(connection_id).balanced


def test_old_deliveries_go_in_batches_and_the_ledger_adds_up_after_each(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", 10)
    connections, now = [hub.connect(target, "customer") for _ in range(2)], utcnow()
    with hub.db.write() as session:
        for n in range(45):
            state = ("delivered", "skipped", "dead")[n % 3]
            row = intake.plan(connections[n % 2], "customer", new_id(), "upsert", 1, now)
            intake.add(session, [row | {"state": state, "settled_at": now}])
    before, after, pages = now + dt.timedelta(days=1), cast("str | None", ""), []
    while after is not None:
        with hub.db.write() as session:
            page = pruning.prune(session, after, before)
        after = page.after
        pages.append(page.pruned)
        assert all(hub.ledger(id).balanced for id in connections)

    assert len(pages) == 5
    assert max(pages) <= 10
    assert sum(pages) == 30
    ledgers = [hub.ledger(id) for id in connections]
    assert [sum(getattr(one, state) for one in ledgers) for state in ("accepted", "delivered", "skipped", "dead")] == [
        45, 15, 15, 15]


def test_two_processes_that_prune_at_once_count_each_delivery_once(hub: Hub, target: FakeTarget) -> None:
    connection_id, now = hub.connect(target, "customer"), utcnow()
    with hub.db.write() as session:
        row = intake.plan(connection_id, "customer", new_id(), "upsert", 1, now)
        intake.add(session, [row | {"state": "delivered", "settled_at": now}])
    with hub.db.write() as session:
        assert pruning._delete(session, [row["id"]]) == 1
    with hub.db.write() as session:
        assert pruning._delete(session, [row["id"]]) == 0  # it was seen before the other one committed

    assert (hub.ledger(connection_id).delivered, hub.ledger(connection_id).balanced) == (1, True)


def test_what_a_run_found_goes_as_long_after_its_end_and_the_run_stays(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    ended, under_way = (hub.start_run(connection_id, kind, without_matching=True, reason="x") if kind == "backfill"
                        else hub.start_run(connection_id, kind) for kind in ("backfill", "dry_run"))
    with hub.db.write() as session:
        for run in (ended, under_way):
            findings.add(session, run, [findings.Found(kind="create", local_id="c")] * 2, utcnow())
        session.get_one(Run, ended).ended_at = utcnow()
    pruner(hub, days_later=89.9).prune()
    assert len(hub.rows(Finding)) == 4
    pruner(hub, days_later=91).prune()
    assert {one.run_id for one in hub.rows(Finding)} == {under_way}
    assert {one.id for one in hub.rows(Run)} == {ended, under_way}
