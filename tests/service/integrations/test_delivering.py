"""A change arrives at its target: once, in order, and with the record it depends on before it."""

from __future__ import annotations

from chassis.database import new_id
from services.integrations.models import Delivery
from tests.service.integrations.conftest import CONFIRMED, CREATED, Hub
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually


def test_a_customer_arrives_once_and_is_bound_to_its_record_at_the_target(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()

    id = hub.customer(name="上海测试有限公司", phone="+8613800138000")
    hub.until(id, "delivered")

    [row] = target.of("customer")
    assert row.body["name"] == "上海测试有限公司"
    binding = hub.binding(id)
    assert (binding.state, binding.external_id, binding.acked_version) == ("bound", row.id, 1)
    [attempt] = hub.attempts(id)
    assert (attempt.outcome, attempt.http_status, attempt.n) == ("succeeded", 201, 1)
    ledger = hub.ledger(connection_id)
    assert (ledger.accepted, ledger.delivered, ledger.open, ledger.balanced) == (1, 1, 0, True)


def test_a_call_goes_on_with_the_trace_of_the_request_that_it_comes_from(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    hub.tell(CREATED, id := new_id(), name="traced", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    hub.until(id, "delivered")

    assert [attempt.trace_id for attempt in hub.attempts(id)] == [trace]


def test_a_later_version_changes_the_same_record(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    id = hub.customer()
    hub.until(id, "delivered")

    hub.customer(2, id)
    hub.until(id, "delivered", "delivered")

    [row] = target.of("customer")
    assert (row.body["name"], row.source_version) == ("v2", 2)
    assert hub.binding(id).acked_version == 2


def test_an_order_waits_for_its_customer_who_is_exported_first_from_our_copy(hub: Hub, target: FakeTarget) -> None:
    target.needs["order"] = "customer"
    hub.tell("customers.customer.created", customer := new_id(), name="先有客户")
    connection_id = hub.connect(target, "order")
    hub.run()

    order = new_id()
    hub.tell(CONFIRMED, order, customer_id=customer, number="SO-1")
    hub.until(order, "delivered")

    assert [row.entity for row in target.rows.values()] == ["customer", "order"]
    assert hub.states(customer) == ["delivered"]
    assert [attempt.outcome for attempt in hub.attempts(order)] == ["succeeded"], "a blocked delivery makes no call"
    assert hub.ledger(connection_id).accepted == 2


def test_a_snapshot_fills_our_copy_and_travels_only_where_an_order_waits_for_it(hub: Hub, target: FakeTarget) -> None:
    target.needs["order"] = "customer"
    connection_id = hub.connect(target, "customer", "order")
    hub.run()
    hub.tell("customers.customer.snapshot", idle := new_id(), name="nobody waits for")
    order, awaited = new_id(), new_id()
    hub.tell(CONFIRMED, order, customer_id=awaited, number="SO-9")
    hub.until(order, "blocked")

    hub.tell("customers.customer.snapshot", awaited, name="老客户")

    hub.until(order, "delivered")
    assert hub.states(awaited) == ["delivered"]
    assert hub.states(idle) == []
    hub.tell("customers.customer.snapshot", awaited, name="老客户")
    assert hub.states(awaited) == ["delivered"], "what is known already is no news"
    ledger = hub.ledger(connection_id)
    assert (ledger.accepted, ledger.delivered, ledger.balanced) == (2, 2, True)


def test_an_order_that_overtakes_its_customer_is_blocked_until_the_customer_arrives(
    hub: Hub, target: FakeTarget
) -> None:
    hub.connect(target, "order")
    hub.run()
    order, customer = new_id(), new_id()

    hub.tell(CONFIRMED, order, customer_id=customer, number="SO-1")
    hub.until(order, "blocked")
    assert hub.deliveries(order)[0].blocked_on == f"customer/{customer}"
    hub.tell("customers.customer.created", customer, name="late")

    hub.until(order, "delivered")
    assert len(target.of("customer")) == 1


def test_an_order_whose_customer_is_refused_ends_with_the_reason(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", "order")
    target.fail(entity="customer", method="POST", status=422, message="no such city")
    hub.run()

    customer = hub.customer()
    hub.until(customer, "dead")
    target.fail(entity="customer", method="POST", status=422, message="no such city")
    hub.tell(CONFIRMED, order := new_id(), customer_id=customer, number="SO-1")

    hub.until(order, "dead")
    [delivery] = hub.deliveries(order)
    assert delivery.error_class == "dependency_missing"
    assert "no such city" in (delivery.last_error or "")
    assert hub.ledger(connection_id).balanced


def test_a_record_that_the_target_already_has_is_adopted(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    there = target.put("customer", id := new_id(), {"name": "older"})
    hub.run()

    hub.customer(1, id)
    hub.until(id, "delivered")

    assert hub.binding(id).external_id == there.id
    assert target.of("customer")[0].body["name"] == "v1"


def test_two_of_our_records_never_share_one_of_theirs(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    first = hub.customer()
    hub.until(first, "delivered")

    second = new_id()
    target.rows[hub.binding(first).external_id or ""].key = second  # the target now calls it by another name of ours
    hub.customer(1, second)

    hub.until(second, "dead")
    assert "belongs to our customer" in (hub.deliveries(second)[0].last_error or "")
    assert hub.binding(first).state == "bound"


def test_what_a_target_told_does_not_travel_back_to_it(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()

    hub.tell("customers.customer.created", id := new_id(), origin=connection_id, name="theirs")

    hub.until(id, "skipped")
    assert not target.rows
    assert hub.ledger(connection_id).balanced


def test_two_engines_on_one_database_share_the_work_and_double_nothing(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", max_in_flight=4)
    ids = [hub.customer() for _ in range(60)]
    other = hub.new_engine()
    hub.run()
    hub.run(other)
    for engine in (hub.engine, other):
        engine.wake([connection_id])

    eventually(lambda: not hub.rows(Delivery, Delivery.state != "delivered"), 20)

    assert sorted(row.key for row in target.of("customer")) == sorted(ids)
    assert len(target.calls("POST")) == 60
    assert hub.ledger(connection_id).delivered == 60
