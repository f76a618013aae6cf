"""A dead delivery is sent again by hand: as one of its own, once, and never past a newer one."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.database import utcnow
from contracts.errors import Conflict, InvalidTransition
from services.integrations.models import Binding, Delivery
from services.integrations.operations import intake, replays
from services.integrations.queries import lanes
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_cancelling import cancel, confirmed
from tests.service.integrations.test_conflicts import decide, refuse
from tests.service.integrations.test_gauges import told
from tests.service.integrations.test_pruning import pruner
from tests.service.integrations.test_two_ways import connect, poll, row_of, task
from tests.support.fake_target import FakeTarget


def retry(hub: Hub, delivery: Delivery) -> Delivery:
    with hub.db.write() as session:
        again = replays.retry(session, {"id": delivery.id, "reason": "corrected there"}, utcnow(), by=ADMIN)
        session.expunge(again)
    hub.engine.wake([again.connection_id])
    return again


def retry_all(hub: Hub, connection_id: str, **asked: Any) -> dict[str, Any]:
    with hub.db.write() as session:
        told = replays.retry_dead(session, {"id": connection_id, "reason": "", **asked}, utcnow(), by=ADMIN)
        examples = [one.local_id for one in told["examples"]]
    hub.engine.wake([connection_id])
    return told | {"examples": examples}


def test_a_dead_delivery_is_sent_again_as_one_of_its_own_however_often_it_is_asked(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    target.fail(method="POST", status=422, message="the code is unknown")
    hub.until(id := hub.customer(), "dead")
    [dead] = hub.deliveries(id)
    assert told(hub)["backlog_deliveries", "dead"] == 1

    again = retry(hub, dead)
    assert retry(hub, dead).id == again.id

    hub.until(id, "dead", "delivered")
    sent = hub.deliveries(id)[1]
    assert (sent.replay_of, sent.origin, sent.idempotency_key) == (dead.id, "replay", dead.idempotency_key)
    assert [row.body["name"] for row in target.of("customer")] == ["v1"]
    assert told(hub)["backlog_deliveries", "dead"] == 0
    assert hub.ledger(connection_id).balanced
    assert pruner(hub, days_later=91).prune() == 0  # else the dead one would be waiting for a person again
    with pytest.raises(InvalidTransition, match="this one is delivered"):
        retry(hub, sent)


@on_sqlite
def test_one_that_dies_again_can_be_sent_again_in_turn(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    target.fail(method="POST", status=422, times=2)
    hub.until(id := hub.customer(), "dead")
    retry(hub, hub.deliveries(id)[0])
    hub.until(id, "dead", "dead")

    retry(hub, hub.deliveries(id)[1])

    hub.until(id, "dead", "dead", "delivered")


@on_sqlite
def test_nothing_is_sent_again_past_a_newer_delivery_of_its_record(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    target.fail(method="POST", status=422)
    hub.until(id := hub.customer(), "dead")
    hub.customer(2, id)
    hub.until(id, "dead", "delivered")
    dead, newer = hub.deliveries(id)

    with pytest.raises(Conflict) as refused:
        retry(hub, dead)

    assert refused.value.fields["newer"] == newer.id


@on_sqlite
def test_a_cancellation_that_was_refused_is_sent_again(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer", "order")
    hub.run()
    hub.until(customer := hub.customer(), "delivered")
    hub.until(order := confirmed(hub, customer), "delivered")
    target.fail(method="DELETE", status=422, message="its shipment has left")
    cancel(hub, order, customer)
    hub.until(order, "delivered", "dead")

    retry(hub, hub.deliveries(order)[1])

    hub.until(order, "delivered", "dead", "delivered")
    assert target.of("order") == []


@on_sqlite
def test_a_decision_that_died_on_its_way_is_still_one_when_it_is_sent_again(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    hub.until(id := task(hub, status="cancelled"), "delivered")
    target.put("task", id, row_of(target, id).body | {"status": "done"})
    poll(hub, connection_id)
    refuse(hub, connection_id, row_of(target, id).id, id)
    target.fail(method="PUT", entity="task", status=422, message="it is signed")
    decide(hub, "keep_local")
    hub.until(id, "delivered", "dead")

    retry(hub, hub.deliveries(id)[1])

    hub.until(id, "delivered", "dead", "delivered")
    assert row_of(target, id).body["status"] == "cancelled"
    dead, again = hub.deliveries(id)[1:]
    assert (again.idempotency_key, again.replay_of) == (dead.idempotency_key, dead.id)


def test_all_dead_deliveries_of_a_filter_are_counted_shown_and_sent_again_once_that_count_is_confirmed(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id, other = hub.connect(target, "customer"), hub.connect(target, "order")
    monkeypatch.setattr(replays, "EXAMPLES", 1)
    hub.run()
    target.fail(method="POST", status=422, times=3)
    ids = [hub.customer() for _ in range(3)]
    for id in ids:
        hub.until(id, "dead")
    hub.customer(2, ids[2])
    hub.until(ids[2], "dead", "delivered")

    def ask(connection: str = connection_id, **asked: Any) -> dict[str, Any]:
        return retry_all(hub, connection, **asked)

    seen = {"connection_id": connection_id, "found": 2, "accepted": 0, "more": False, "examples": ids[:1]}
    assert ask(error_class="invalid", entity="customer") == seen
    assert (ask(error_class="transient")["found"], ask(other)["found"]) == (0, 0)
    with pytest.raises(Conflict) as refused:
        ask(confirm=3)
    assert refused.value.fields["found"] == 2
    assert [hub.states(id) for id in ids[:2]] == [["dead"]] * 2

    assert ask(confirm=2)["accepted"] == 2

    for id in ids[:2]:
        hub.until(id, "dead", "delivered")
    assert len(target.of("customer")) == 3
    assert ask()["found"] == 0
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_counting_holds_nobody_up_and_an_event_that_comes_in_before_the_sending_goes_first(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id, now = hub.connect(target, "customer"), utcnow()
    id = hub.customer()
    with hub.db.write() as session:
        session.execute(sa.update(Delivery).values(state="dead", error_class="invalid", settled_at=now))
    locked: list[str] = []
    monkeypatch.setattr(replays, "lock", lambda _session, ids: locked.extend(ids))
    assert (retry_all(hub, connection_id)["found"], locked) == (1, [])
    known = lanes.records

    def overtaken(session: Session, keys: Any) -> Any:
        monkeypatch.setattr(lanes, "records", known)
        intake.add(session, [intake.plan(connection_id, "customer", id, "upsert", 2, now)])
        return known(session, keys)

    for ask in (lambda: retry_all(hub, connection_id, confirm=1), lambda: retry(hub, hub.deliveries(id)[0])):
        monkeypatch.setattr(lanes, "records", overtaken)
        with pytest.raises(Conflict, match="came in meanwhile"):
            ask()
    assert (hub.states(id), locked) == (["dead"], [connection_id] * 2)


@on_sqlite
def test_more_than_can_be_sent_again_at_once_are_sent_in_turns(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id, now = hub.connect(target, "customer"), utcnow()
    monkeypatch.setattr(replays, "MOST", 2)
    plans = [intake.plan(connection_id, "customer", f"c{n}", "delete", 1, now) for n in range(3)]
    with hub.db.write() as session:
        intake.add(session, [plan | {"state": "dead", "settled_at": now} for plan in plans])
    left = []
    for _ in range(3):
        with hub.db.write() as session:
            found = replays.retry_dead(session, {"id": connection_id}, now, by=ADMIN)
            left.append((found["found"], found["more"]))
            replays.retry_dead(session, {"id": connection_id, "confirm": found["found"]}, now, by=ADMIN)
    assert left == [(2, True), (1, False), (0, False)]


@on_sqlite
def test_what_may_have_arrived_is_sent_again_only_by_whoever_names_its_class(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", adapter="fake_blind")
    hub.run()
    target.fail(method="POST", drop="after")
    hub.until(id := hub.customer(), "dead")
    assert hub.deliveries(id)[0].error_class == "unresolvable"

    assert retry_all(hub, connection_id)["found"] == retry_all(hub, connection_id, confirm=0)["accepted"] == 0
    assert retry_all(hub, connection_id, error_class="unresolvable", confirm=1)["accepted"] == 1

    hub.until(id, "dead", "delivered")


@on_sqlite
def test_what_may_have_arrived_is_looked_for_before_it_is_sent_again(hub: Hub, target: FakeTarget) -> None:
    connection_id, earlier = hub.connect(target, "customer"), utcnow() - dt.timedelta(minutes=1)
    arrived, lost = hub.customer(), hub.customer()
    there = target.put("customer", arrived, {"name": "v1"})
    with hub.db.write() as session:
        session.execute(sa.update(Delivery).values(state="dead", error_class="ambiguous", settled_at=earlier))
        session.execute(sa.insert(Binding), [
            {"connection_id": connection_id, "entity": "customer", "local_id": id, "state": "in_doubt",
             "create_key": f"customer-{id}"} for id in (arrived, lost)])

    retry(hub, hub.deliveries(arrived)[0])
    assert retry_all(hub, connection_id, error_class="ambiguous", confirm=1)["accepted"] == 1
    assert [hub.states(id) for id in (arrived, lost)] == [["dead", "in_doubt"]] * 2
    hub.run()

    for id in (arrived, lost):
        hub.until(id, "dead", "delivered")
    assert [(one.action, one.outcome) for one in hub.attempts(arrived)] == [("find", "found"), ("write", "succeeded")]
    assert [(one.action, one.outcome) for one in hub.attempts(lost)] == [("find", "absent"), ("write", "succeeded")]
    assert (len(target.of("customer")), hub.binding(arrived).external_id) == (2, there.id)
    assert hub.ledger(connection_id).balanced
