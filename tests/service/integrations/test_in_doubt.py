"""The answer was lost: did it arrive? Only the target knows, and an empty look-up right after proves nothing."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from chassis.database import new_id, utcnow
from services.integrations.models import Delivery
from services.integrations.operations import claims, probes, replays
from services.integrations.operations.claims import Lease
from tests.service.integrations.conftest import ADMIN, CONFIRMED, Hub, on_sqlite
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


def blind(hub: Hub, target: FakeTarget, *entities: str) -> str:
    """Connect a target that can be neither asked nor told twice; return the connection's id."""
    target.unique = False
    return hub.connect(target, *(entities or ("customer",)), adapter="fake_blind")


def test_a_target_that_can_be_neither_asked_nor_told_twice_leaves_it_to_a_person(hub: Hub, target: FakeTarget) -> None:
    connection_id = blind(hub, target)
    assert hub.connection(connection_id).guarantee == "at_least_once"
    target.fail(method="POST", drop="after")
    hub.run()

    id = hub.customer()

    hub.until(id, "dead")
    [delivery] = hub.deliveries(id)
    assert delivery.error_class == "unresolvable"
    assert len(target.calls("POST")) == 1
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_what_may_be_at_a_blind_target_is_not_made_again_by_its_next_change(hub: Hub, target: FakeTarget) -> None:
    connection_id = blind(hub, target)
    target.fail(method="POST", drop="after")
    hub.run()
    id = hub.customer()
    hub.until(id, "dead")

    hub.customer(2, id)

    hub.until(id, "dead", "dead")
    parked = hub.deliveries(id)[1]
    assert (parked.error_class, hub.binding(id).state) == ("unresolvable", "in_doubt")
    assert "it may be there already" in (parked.last_error or "")
    assert (len(target.of("customer")), len(target.calls("POST"))) == (1, 1)
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_a_version_that_waited_for_a_lost_answer_of_a_blind_target_does_not_go_after_it(
    hub: Hub, target: FakeTarget
) -> None:
    blind(hub, target)
    target.fail(method="POST", drop="after", delay_s=0.3)
    hub.run()
    id = hub.customer()
    hub.until(id, "leased")

    hub.customer(2, id)

    hub.until(id, "dead", "dead")
    assert len(target.of("customer")) == 1


@on_sqlite
def test_a_process_that_ends_during_a_call_to_a_blind_target_doubles_nothing(hub: Hub, target: FakeTarget) -> None:
    connection_id = blind(hub, target)
    id = hub.customer(wake=False)
    with hub.db.write() as session:
        claims.claim(session, hub.keyring, [(connection_id, 1)], Lease(owner="gone/1/1", until=utcnow()), utcnow())
    target.put("customer", id, {"name": "v1"})  # the call arrived, and its process was killed
    hub.run()
    hub.until(id, "in_doubt")
    hub.hurry(id)
    hub.until(id, "dead")
    assert hub.binding(id).state == "in_doubt"

    hub.customer(2, id)

    hub.until(id, "dead", "dead")
    assert len(target.of("customer")) == 1


@on_sqlite
def test_what_is_taken_is_on_a_slot_wherever_it_was_before(hub: Hub, target: FakeTarget) -> None:
    connection_id, lease = hub.connect(target, "customer"), Lease(owner="me/1/1", until=utcnow())
    id = hub.customer(wake=False)
    left = {"ahead": True, "lease_owner": None, "lease_until": None}

    for state in ("pending", "in_doubt"):
        with hub.db.write() as session:
            session.execute(sa.update(Delivery).values(state=state, **left))
            if state == "pending":
                claims.claim(session, hub.keyring, [(connection_id, 1)], lease, utcnow())
            else:
                probes.claim(session, connection_id, 1, lease, utcnow())
        [taken] = hub.deliveries(id)
        assert (taken.lease_owner, taken.ahead) == (lease.owner, False)


@on_sqlite
@pytest.mark.parametrize("origin", ["event", "reconcile"])
def test_what_a_person_sends_again_to_a_blind_target_goes_and_its_changes_after_it(
    hub: Hub, target: FakeTarget, origin: str
) -> None:
    blind(hub, target)
    target.fail(method="POST", drop="before")
    hub.run()
    id = hub.customer()
    hub.until(id, "dead")
    hub.customer(2, id)
    hub.until(id, "dead", "dead")

    newest = hub.deliveries(id)[1].id
    with hub.db.write() as session:
        session.execute(sa.update(Delivery).where(Delivery.id == newest).values(origin=origin))
        replays.retry(session, {"id": newest}, utcnow(), by=ADMIN)
    hub.hurry(id)
    hub.until(id, "dead", "dead", "delivered")
    hub.customer(3, id)

    hub.until(id, "dead", "dead", "delivered", "delivered")
    assert [row.body["name"] for row in target.of("customer")] == ["v3"]


@on_sqlite
def test_an_order_does_not_wait_for_a_customer_that_may_be_at_a_blind_target(hub: Hub, target: FakeTarget) -> None:
    connection_id = blind(hub, target, "customer", "order")
    target.fail(method="POST", drop="after")
    hub.run()
    customer = hub.customer()
    hub.until(customer, "dead")

    hub.tell(CONFIRMED, order := new_id(), customer_id=customer, number="SO-1")

    hub.until(order, "dead")
    [delivery] = hub.deliveries(order)
    assert delivery.error_class == "dependency_missing"
    assert "it may be there already" in (delivery.last_error or "")
    assert hub.states(customer) == ["dead", "dead"]
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


@on_sqlite
def test_a_change_that_another_record_stands_in_the_way_of_is_for_a_person_at_once(
    hub: Hub, target: FakeTarget
) -> None:
    hub.connect(target, "customer")
    hub.run()
    id = hub.customer()
    hub.until(id, "delivered")
    target.fail(method="PUT", times=20, status=409, message="the email is taken by record 77")

    hub.customer(2, id)

    hub.until(id, "delivered", "dead")
    [_, refused] = hub.deliveries(id)
    assert refused.error_class == "already_exists"
    assert "record 77" in (refused.last_error or "")
    assert f"ours stands there as {hub.binding(id).external_id}" in (refused.last_error or "")
    assert len(target.calls("PUT")) == 1


@on_sqlite
def test_what_exists_already_and_is_never_found_is_tried_by_the_schedule(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    target.fail(method="POST", times=20, status=409)
    hub.run()
    id = hub.customer()
    doubt(hub, id)
    hub.hurry(id)
    hub.until(id, "pending")
    [delivery], looked_at = hub.deliveries(id), hub.attempts(id)[-1].ended_at
    assert looked_at is not None
    assert (delivery.error_class, delivery.attempts, len(target.calls("POST"))) == ("already_exists", 1, 1)
    assert (delivery.due_at - looked_at).total_seconds() >= 3.9

    with hub.db.write() as session:
        session.execute(sa.update(Delivery).where(Delivery.local_id == id).values(attempts=11))
    hub.hurry(id)
    hub.until(id, "in_doubt")
    hub.hurry(id)

    hub.until(id, "dead")
    assert (hub.deliveries(id)[0].error_class, len(target.calls("POST"))) == ("already_exists", 2)


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
