"""What a failure does next: to the delivery, to its lane, to the connection, and to nobody else."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import new_id, utcnow
from contracts.connections import ChangeConnection, CreateConnection
from contracts.errors import Conflict, Invalid
from contracts.schema import load
from services.integrations.domain import breaker
from services.integrations.engine import checks
from services.integrations.models import Connection, Record
from services.integrations.operations import connections, credentials
from tests.service.integrations.conftest import ADMIN, CONFIRMED, Hub, on_sqlite
from tests.support.fake_target import GOOD_KEY, FakeAdapter, FakeTarget
from tests.support.processes import eventually


def seconds_until(moment: dt.datetime | None) -> float:
    assert moment is not None
    return (moment - utcnow()).total_seconds()


def test_a_failing_target_is_tried_twelve_times_by_the_schedule_and_then_given_up(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("LEAST_CALLS", "IN_A_ROW"):  # three days of failures pass here in a second
        monkeypatch.setattr(breaker, limit, 100)
    connection_id = hub.connect(target, "customer")
    target.fail(method="POST", times=100, status=500)
    hub.run()
    id = hub.customer()

    for failures in range(1, 12):
        eventually(lambda wanted=failures: hub.deliveries(id)[0].attempts == wanted)
        hub.until(id, "retry_wait")
        hub.hurry(id)
    hub.until(id, "dead")

    assert len(target.calls("POST")) == 12
    assert hub.deliveries(id)[0].error_class == "transient"
    assert hub.ledger(connection_id).dead == 1


def test_of_many_that_go_and_settle_together_only_those_that_failed_go_again(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    ids = [hub.customer(wake=False) for _ in range(24)]
    target.fail(method="POST", times=4, status=500)
    hub.run()

    eventually(lambda: Counter(state for id in ids for state in hub.states(id)) == {"delivered": 20, "retry_wait": 4})
    again = [id for id in ids if hub.states(id) == ["retry_wait"]]
    for id in again:
        hub.hurry(id)
    for id in ids:
        hub.until(id, "delivered")

    assert {id: len(hub.attempts(id)) for id in ids} == {id: 2 if id in again else 1 for id in ids}
    assert sorted(row.key for row in target.of("customer")) == sorted(ids)
    assert hub.ledger(connection_id).balanced


def test_the_first_retry_comes_after_five_seconds_give_or_take_a_fifth(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    target.fail(method="POST", status=500)
    hub.run()

    hub.until(id := hub.customer(), "retry_wait")

    [delivery], [attempt] = hub.deliveries(id), hub.attempts(id)
    assert attempt.ended_at is not None
    assert 4.0 <= (delivery.due_at - attempt.ended_at).total_seconds() <= 6.0


def test_too_many_requests_holds_the_whole_connection_and_uses_no_attempt(hub: Hub, target: FakeTarget) -> None:
    other = FakeTarget()
    connection_id = hub.connect(target, "customer", max_in_flight=1)
    elsewhere = hub.connect(other, "customer")
    target.fail(method="POST", status=429, headers={"Retry-After": "3"})
    hub.run()
    first, second = hub.customer(), hub.customer()

    eventually(lambda: hub.connection(connection_id).throttled_until is not None)
    connection, tried = hub.connection(connection_id), [*hub.attempts(first), *hub.attempts(second)]
    [refused] = [attempt for attempt in tried if attempt.error_class == "rate_limited"]
    assert connection.health == "throttled"
    assert connection.throttled_until is not None
    assert refused.ended_at is not None
    assert refused.retry_after_s == 3
    assert seconds_until(connection.throttled_until) <= 3.3
    assert (connection.throttled_until - refused.ended_at).total_seconds() >= 2.7
    eventually(lambda: hub.ledger(elsewhere).delivered == 2)
    assert hub.connection(elsewhere).throttled_until is None

    eventually(lambda: hub.ledger(connection_id).delivered == 2)
    assert [hub.deliveries(id)[0].attempts for id in (first, second)] == [0, 0]
    eventually(lambda: hub.connection(connection_id).health == "ok")
    for id in (first, second):
        assert hub.attempts(id)[-1].started_at >= connection.throttled_until
    other.close()


def test_service_unavailable_with_a_date_to_come_back_is_honoured_like_429(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    at = (utcnow() + dt.timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    target.fail(method="POST", status=503, headers={"Retry-After": at})
    hub.run()
    hub.customer()

    eventually(lambda: hub.connection(connection_id).throttled_until is not None)
    assert 80 < seconds_until(hub.connection(connection_id).throttled_until) <= 91


def test_a_refused_record_is_dead_at_once_and_the_others_pass(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer", max_in_flight=1)
    target.fail(method="POST", status=422, message="电话号码无效")
    hub.run()
    bad, good = hub.customer(), hub.customer()

    hub.until(bad, "dead")
    hub.until(good, "delivered")

    [delivery] = hub.deliveries(bad)
    assert delivery.error_class == "invalid"
    assert "电话号码无效" in (delivery.last_error or "")


def test_a_wrong_key_pauses_the_connection_for_a_person_and_a_new_one_lets_everything_through(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    target.accepted_key = "changed overnight"
    hub.run()
    ids = [hub.customer() for _ in range(5)]

    eventually(lambda: hub.connection(connection_id).desired_state == "paused")
    connection = hub.connection(connection_id)
    assert connection.health == "auth_failed"
    assert (connection.pause_reason or "").startswith("auth: the target answered 401")
    asked = len(target.seen)
    hub.quiet(1.5)
    assert len(target.seen) <= asked + 4

    with hub.db.write() as session:
        secrets = {"id": connection_id, "secrets": {"key": "changed overnight"}}
        credentials.put(session, hub.keyring, secrets, by=ADMIN)
    with pytest.raises(Conflict), hub.db.write() as session:
        connections.resume(session, {"id": connection_id}, by=ADMIN)
    assert checks.check(hub.db, hub.keyring, connection_id, 10, by=ADMIN)["ok"]
    with hub.db.write() as session:
        connections.resume(session, {"id": connection_id}, by=ADMIN)
    hub.engine.wake([connection_id])

    for id in ids:
        hub.until(id, "delivered")
        assert hub.deliveries(id)[0].attempts == 0
    assert "changed overnight" not in str([vars(row) for row in hub.attempts(ids[0])])


def test_a_record_that_vanished_at_the_target_is_made_again(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    id = hub.customer()
    hub.until(id, "delivered")
    target.rows.clear()

    hub.customer(2, id)
    eventually(lambda: hub.states(id)[-1] == "retry_wait")
    assert hub.binding(id).state == "unbound"
    hub.hurry(id)

    hub.until(id, "delivered", "delivered")
    assert [row.body["name"] for row in target.of("customer")] == ["v2"]


def test_a_customer_that_the_target_has_lost_is_made_anew_for_the_order_that_misses_it(
    hub: Hub, target: FakeTarget
) -> None:
    hub.connect(target, "customer", "order")
    target.needs["order"] = "customer"
    hub.run()
    customer = hub.customer()
    hub.until(customer, "delivered")
    target.rows.clear()

    hub.tell(CONFIRMED, order := new_id(), customer_id=customer, number="SO-1")

    hub.until(order, "delivered")
    hub.until(customer, "delivered", "delivered")
    assert [row.entity for row in target.rows.values()] == ["customer", "order"]
    assert hub.deliveries(order)[0].attempts == 1


def test_an_adapter_that_raises_something_of_its_own_is_tried_three_times(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise KeyError("surprise")

    hub.connect(target, "customer")
    monkeypatch.setattr("tests.support.fake_target.FakeAdapter.write", broken)
    hub.run()
    id = hub.customer()
    for failures in (1, 2):
        eventually(lambda wanted=failures: hub.deliveries(id)[0].attempts == wanted)
        hub.until(id, "retry_wait")
        hub.hurry(id)

    hub.until(id, "dead")
    assert hub.deliveries(id)[0].error_class == "adapter_error"


def test_a_broken_target_keeps_nobody_else_waiting(hub: Hub, target: FakeTarget) -> None:
    slow = FakeTarget()
    slow_id = hub.connect(slow, "customer", max_in_flight=4)
    good_id = hub.connect(target, "customer")
    slow.fail(times=1000, delay_s=3.0, method="POST")
    hub.run()
    started = time.monotonic()

    for _ in range(20):
        hub.customer()

    eventually(lambda: hub.ledger(good_id).delivered == 20)
    assert time.monotonic() - started < 2.5
    assert hub.ledger(slow_id).delivered == 0
    slow.close()


def test_more_calls_than_the_connection_allows_are_never_on_the_wire_even_from_two_processes(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer", max_in_flight=3)
    for _ in range(12):
        hub.customer()
    target.fail(times=12, delay_s=0.4, method="POST")
    other = hub.new_engine()
    hub.run()
    hub.run(other)
    for engine in (hub.engine, other):
        engine.wake([connection_id])

    eventually(lambda: hub.ledger(connection_id).delivered == 12, 15)

    at = sorted(seen.at for seen in target.calls("POST"))
    crowd = max(sum(1 for other_at in at if moment <= other_at < moment + 0.35) for moment in at)
    assert crowd <= 3


def test_our_own_pace_is_kept(make_hub: Callable[..., Hub], target: FakeTarget) -> None:
    hub = make_hub()
    connection_id = hub.connect(target, "customer", rate_per_s=10, burst=2, max_in_flight=4)
    hub.run()
    for _ in range(6):
        hub.customer()

    eventually(lambda: hub.ledger(connection_id).delivered == 6, 20)

    calls = [seen.at for seen in target.seen if seen.path != "/ping"]
    assert len(calls) == 12, "a look and a write for each"
    assert (len(calls) - 2) / (max(calls) - min(calls)) <= 11


@on_sqlite
def test_a_write_of_three_requests_arrives_by_a_pace_of_one_in_two_seconds(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = FakeAdapter.find

    def looking_twice(*asked: Any) -> Any:
        find(*asked)
        return find(*asked)

    monkeypatch.setattr(FakeAdapter, "find", looking_twice)
    connection_id = hub.connect(target, "customer", rate_per_s=0.5, burst=1)
    began = time.monotonic()
    hub.run()
    ids = [hub.customer(), hub.customer()]

    eventually(lambda: hub.ledger(connection_id).delivered >= 1, 30)

    at = sorted(seen.at - began for seen in target.seen if seen.path != "/ping")
    assert all(since >= 2 * before - 0.1 for before, since in enumerate(at)), at
    connection = hub.connection(connection_id)
    assert (connection.health, connection.throttled_until) == ("ok", None)
    assert {attempt.error_class for id in ids for attempt in hub.attempts(id)} <= {None, "paced"}
    assert [hub.deliveries(id)[0].attempts for id in ids] == [0, 0]


@on_sqlite
def test_our_own_pace_does_not_keep_a_target_that_is_back_from_being_seen(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", rate_per_s=0.5, burst=1)
    ago = utcnow() - dt.timedelta(seconds=1)
    with hub.db.write() as session:
        connection = session.get_one(Connection, connection_id)
        connection.breaker = breaker.Breaker(open_until=ago, opened_at=ago, openings=1)
        connection.health = "open"
        pace = hub.engine.targets.get(session, connection).pace
    for _ in range(20):
        pace.pay()

    hub.run()

    eventually(lambda: hub.connection(connection_id).health == "half_open")


def test_a_pace_by_which_no_call_would_end_is_refused() -> None:
    made = {"name": "erp", "adapter": "fake", "config": {}}
    changed = {"id": new_id(), "expected_version": 1}
    assert load(CreateConnection, {**made, "rate_per_s": 0.4})["rate_per_s"] == 0.4
    for schema, asked, pointer in ((CreateConnection, {**made, "rate_per_s": 0.39}, "/rate_per_s"),
                                   (ChangeConnection, {**changed, "changes": {"rate_per_s": 0.39}},
                                    "/changes/rate_per_s")):
        with pytest.raises(Invalid) as refused:
            load(schema, asked)
        assert [fault["pointer"] for fault in refused.value.fields["errors"]] == [pointer]


def test_a_wrong_key_is_named_by_the_check(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, key="nonsense")
    check = hub.connection(connection_id).check
    assert check is not None
    assert not check["ok"]
    assert check["problems"] == [{"field": "key", "message": "the target answered 401: unknown key"}]
    assert GOOD_KEY not in str(check)


def test_an_order_whose_customer_the_target_keeps_losing_ends(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer", "order")
    hub.run()
    customer = hub.customer()
    hub.until(customer, "delivered")
    target.fail(method="POST", entity="order", times=100, status=424, message="no such customer")

    hub.tell(CONFIRMED, order := new_id(), customer_id=customer, number="SO-1")

    hub.until(order, "dead", timeout_s=20)
    [delivery] = hub.deliveries(order)
    assert (delivery.error_class, delivery.attempts) == ("dependency_missing", 12)
    assert len([seen for seen in target.calls("POST") if "/order" in seen.path]) == 12


def test_waiting_for_one_record_again_and_again_ends_at_the_first_deadline(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer", "order")
    hub.run()
    hub.tell(CONFIRMED, order := new_id(), customer_id=(customer := new_id()), number="SO-1")
    hub.until(order, "blocked")
    first = hub.deliveries(order)[0].deadline_at
    target.fail(method="POST", entity="order", status=424, message="no such customer")
    target.fail(method="POST", entity="customer", status=500)

    hub.customer(1, customer)
    hub.until(customer, "retry_wait")
    hub.hurry(customer)

    hub.until(order, "delivered")
    assert first is not None
    assert hub.deliveries(order)[0].deadline_at == first


def test_a_record_that_does_not_open_stops_itself_and_nobody_else(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    other = FakeTarget()
    hub.connect(other, "customer")
    broken, sound = hub.customer(), hub.customer()
    with hub.db.write() as session:
        session.execute(sa.update(Record).where(Record.id == broken).values(
            state_sealed=sa.select(Record.state_sealed).where(Record.id == sound).scalar_subquery()))
    hub.run()
    hub.engine.wake({row.connection_id for row in hub.deliveries(sound)})

    hub.until(sound, "delivered", "delivered")
    hub.until(broken, "dead", "dead")
    assert "does not open" in (hub.deliveries(broken)[0].last_error or "")
    other.close()
