"""A dead delivery is sent again by hand: as one of its own, once, and never past a newer one."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.database import new_id, utcnow
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
def test_an_old_change_that_comes_in_late_keeps_no_dead_newer_one_from_going_again(
    hub: Hub, target: FakeTarget
) -> None:
    hub.connect(target, "customer")
    hub.run()
    target.fail(method="POST", status=422)
    hub.until(id := hub.customer(2, new_id()), "dead")
    hub.customer(1, id)
    hub.until(id, "dead", "skipped")

    retry(hub, hub.deliveries(id)[0])

    hub.until(id, "dead", "skipped", "delivered")
    assert [row.source_version for row in target.of("customer")] == [2]


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


@on_sqlite
def test_an_event_that_comes_in_while_somebody_asks_goes_in_its_place(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id, now = hub.connect(target, "customer"), utcnow()
    id = hub.customer()
    with hub.db.write() as session:
        session.execute(sa.update(Delivery).values(state="dead", error_class="invalid", settled_at=now))
    known = lanes.records

    def overtaken(session: Session, keys: Any) -> Any:
        intake.add(session, [intake.plan(connection_id, "customer", id, "upsert", 2, now)])
        return known(session, keys)

    monkeypatch.setattr(lanes, "records", overtaken)
    with pytest.raises(Conflict, match="came in meanwhile"):
        retry(hub, hub.deliveries(id)[0])
    assert hub.states(id) == ["dead"]


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

    for id in (arrived, lost):
        retry(hub, hub.deliveries(id)[0])
    assert [hub.states(id) for id in (arrived, lost)] == [["dead", "in_doubt"]] * 2
    hub.run()

    for id in (arrived, lost):
        hub.until(id, "dead", "delivered")
    assert [(one.action, one.outcome) for one in hub.attempts(arrived)] == [("find", "found"), ("write", "succeeded")]
    assert [(one.action, one.outcome) for one in hub.attempts(lost)] == [("find", "absent"), ("write", "succeeded")]
    assert (len(target.of("customer")), hub.binding(arrived).external_id) == (2, there.id)
    assert hub.ledger(connection_id).balanced
