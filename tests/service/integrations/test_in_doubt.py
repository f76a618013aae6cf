"""The answer was lost: did it arrive? Only the target knows, and an empty look-up right after proves nothing."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from chassis.database import utcnow
from services.integrations.models import Delivery
from services.integrations.operations import probes
from services.integrations.operations.claims import Lease
from tests.service.integrations.conftest import Hub
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually


def doubt(hub: Hub, id: str) -> Delivery:
    hub.until(id, "in_doubt")
    return hub.deliveries(id)[0]


def test_an_answer_dropped_after_the_target_committed_leaves_one_record_which_is_adopted(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    target.fail(method="POST", drop="after")
    hub.run()
    id = hub.customer()
    assert doubt(hub, id).error_class == "ambiguous"
    assert hub.binding(id).state == "in_doubt"

    hub.hurry(id)
    hub.until(id, "delivered")

    [row] = target.of("customer")
    assert hub.binding(id).external_id == row.id
    assert [(a.action, a.outcome) for a in hub.attempts(id)] == [
        ("write", "failed"), ("find", "found"), ("write", "succeeded")]
    assert hub.ledger(connection_id).balanced


def test_an_answer_dropped_before_anything_was_done_is_sent_again_once_a_late_look_up_is_empty(
    hub: Hub, target: FakeTarget
) -> None:
    hub.connect(target, "customer")
    target.fail(method="POST", drop="before")
    hub.run()
    id = hub.customer()
    doubt(hub, id)

    hub.hurry(id)
    hub.until(id, "delivered")

    assert len(target.of("customer")) == 1
    keys = {seen.key for seen in target.calls("POST")}
    assert keys == {f"customer-{id}"}, "every creation goes under one key"


@pytest.mark.parametrize(("adapter", "since_s", "proof_s"), [("fake", 1.0, 5.0), ("fake_ask_only", 20.0, 30.0)])
def test_an_empty_look_up_that_comes_too_early_is_not_believed_and_repeated_as_soon_as_it_proves_something(
    hub: Hub, target: FakeTarget, adapter: str, since_s: float, proof_s: float
) -> None:
    hub.connect(target, "customer", adapter=adapter)
    target.fail(method="POST", drop="before")
    hub.run()
    id = hub.customer()
    doubt(hub, id)

    ago = utcnow() - dt.timedelta(seconds=since_s)
    with hub.db.write() as session:
        session.execute(sa.update(Delivery).where(Delivery.local_id == id).values(due_at=ago, doubt_since=ago))
    eventually(lambda: hub.attempts(id)[-1].outcome == "absent")

    assert hub.states(id) == ["in_doubt"]
    next_look = hub.deliveries(id)[0].due_at
    assert utcnow() < next_look
    assert proof_s <= (next_look - ago).total_seconds() < proof_s + 2
    assert len(target.calls("POST")) == 1


def test_a_target_that_can_be_neither_asked_nor_told_twice_leaves_it_to_a_person(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.fake_target.BlindAdapter.find", lambda *_: [])
    connection_id = hub.connect(target, "customer", adapter="fake_blind")
    assert hub.connection(connection_id).guarantee == "at_least_once"
    target.fail(method="POST", drop="after")
    hub.run()

    id = hub.customer()

    hub.until(id, "dead")
    [delivery] = hub.deliveries(id)
    assert delivery.error_class == "unresolvable"
    assert len(target.calls("POST")) == 1
    assert hub.ledger(connection_id).balanced


def test_a_newer_version_waits_for_the_doubt_to_end_and_then_changes_the_one_record(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    target.fail(method="POST", drop="after")
    hub.run()
    id = hub.customer()
    doubt(hub, id)

    hub.customer(2, id)
    hub.quiet(0.5)
    assert hub.states(id) == ["in_doubt", "pending"]
    hub.hurry(id)

    hub.until(id, "superseded", "delivered")
    [row] = target.of("customer")
    assert row.body["name"] == "v2"
    assert hub.ledger(connection_id).balanced


def test_a_key_that_is_taken_leads_to_a_look_up_and_the_record_is_adopted(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.connect(target, "customer")
    target.fail(method="POST", status=409)
    hub.run()
    id = hub.customer()
    doubt_state = doubt(hub, id)
    assert doubt_state.error_class == "already_exists"
    target.put("customer", id, {"name": "theirs"})

    hub.hurry(id)
    hub.until(id, "delivered")

    assert [row.body["name"] for row in target.of("customer")] == ["v1"]


def test_a_look_up_that_fails_proves_nothing_and_is_made_again(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    target.fail(method="POST", drop="after")
    hub.run()
    id = hub.customer()
    doubt(hub, id)
    target.fail(method="GET", status=500)
    hub.hurry(id)
    eventually(lambda: len(hub.attempts(id)) == 2 and hub.attempts(id)[-1].outcome == "unanswered")
    assert hub.states(id) == ["in_doubt"]

    hub.hurry(id)
    hub.until(id, "delivered")
    assert len(target.of("customer")) == 1


def test_an_update_whose_answer_was_lost_is_sent_again_to_the_same_record(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    id = hub.customer()
    hub.until(id, "delivered")
    target.fail(method="PUT", drop="after")

    hub.customer(2, id)
    hub.until(id, "delivered", "in_doubt")
    hub.hurry(id)

    hub.until(id, "delivered", "delivered")
    assert [row.body["name"] for row in target.of("customer")] == ["v2"]


def test_look_ups_take_room_like_any_other_call(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", max_in_flight=2)
    target.fail(method="POST", times=6, drop="before")
    hub.run()
    ids = [hub.customer() for _ in range(6)]
    eventually(lambda: [hub.states(id) for id in ids] == [["in_doubt"]] * 6)
    before = len(target.calls("GET"))
    target.fail(method="GET", times=6, delay_s=0.4)

    hub.hurry()

    eventually(lambda: hub.ledger(connection_id).delivered == 6, 30)
    at = sorted(seen.at for seen in target.calls("GET")[before:])[:6]
    assert max(sum(1 for other in at if moment <= other < moment + 0.35) for moment in at) <= 2


def test_a_look_up_that_was_never_made_is_not_counted(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    target.fail(method="POST", drop="before")
    hub.run()
    id = hub.customer()
    delivery = doubt(hub, id)
    now = delivery.due_at + dt.timedelta(seconds=1)
    for _ in range(20):
        with hub.db.write() as session:
            session.execute(sa.update(Delivery).where(Delivery.id == delivery.id).values(due_at=utcnow()))
            probes.claim(session, delivery.connection_id, 5, Lease(owner="gone/1/1", until=utcnow()), now)
        hub.engine.sweeper.sweep()

    assert hub.deliveries(id)[0].probes == 0
    hub.hurry(id)
    hub.until(id, "delivered")
