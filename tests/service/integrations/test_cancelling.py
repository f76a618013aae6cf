"""A cancelled order is called back from its targets, or never leaves."""

from __future__ import annotations

import pytest

from chassis.database import new_id
from services.integrations.models import Record
from tests.service.integrations.conftest import CONFIRMED, Hub
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually

CANCELLED = "sales.order.cancelled"


@pytest.fixture
def customer(hub: Hub, target: FakeTarget) -> str:
    """A customer who is at the target; the engine runs."""
    hub.connect(target, "customer", "order")
    hub.run()
    id = hub.customer()
    hub.until(id, "delivered")
    return id


def confirmed(hub: Hub, customer: str) -> str:
    hub.tell(CONFIRMED, order := new_id(), 2, customer_id=customer, number="SO-1")
    return order


def cancel(hub: Hub, order: str, customer: str) -> None:
    hub.tell(CANCELLED, order, 3, customer_id=customer, number="SO-1", status="cancelled")


def test_an_order_cancelled_after_its_delivery_is_taken_back(hub: Hub, target: FakeTarget, customer: str) -> None:
    hub.until(order := confirmed(hub, customer), "delivered")

    cancel(hub, order, customer)

    hub.until(order, "delivered", "delivered")
    assert target.of("order") == []
    assert (hub.binding(order).state, hub.binding(order).external_id) == ("unbound", None)
    assert [row.deleted for row in hub.rows(Record, Record.id == order)] == [True]


def test_an_order_cancelled_before_it_left_is_never_made(hub: Hub, target: FakeTarget, customer: str) -> None:
    waiting_for = new_id()
    hub.until(order := confirmed(hub, waiting_for), "blocked")

    cancel(hub, order, waiting_for)

    hub.until(order, "superseded", "skipped")
    assert target.of("order") == []
    assert hub.deliveries(order)[1].last_error == "it was never made there"
    assert hub.ledger(hub.deliveries(order)[0].connection_id).balanced


def test_a_cancellation_that_overtakes_its_order_keeps_it_from_leaving(
    hub: Hub, target: FakeTarget, customer: str
) -> None:
    cancel(hub, order := new_id(), customer)
    hub.until(order, "skipped")

    hub.tell(CONFIRMED, order, 2, customer_id=customer, number="SO-1")

    hub.until(order, "skipped", "skipped")
    assert target.of("order") == []


def test_an_order_cancelled_while_it_is_on_the_wire_is_taken_back_when_it_has_arrived(
    hub: Hub, target: FakeTarget, customer: str
) -> None:
    target.fail(method="POST", entity="order", delay_s=0.5)
    hub.until(order := confirmed(hub, customer), "leased")

    cancel(hub, order, customer)

    hub.until(order, "delivered", "delivered")
    assert target.of("order") == []
    assert [seen.method for seen in target.seen if "/order" in seen.path] == ["GET", "POST", "DELETE"]


def test_an_order_cancelled_while_its_call_fails_is_not_tried_again(
    hub: Hub, target: FakeTarget, customer: str
) -> None:
    target.fail(method="POST", entity="order", delay_s=0.5, status=500)
    hub.until(order := confirmed(hub, customer), "leased")

    cancel(hub, order, customer)

    hub.until(order, "superseded", "delivered")
    assert hub.deliveries(order)[0].superseded_by == hub.deliveries(order)[1].id
    assert target.of("order") == []
    assert len(target.calls("POST")) == 2, "the customer, and the order once"


def test_an_order_cancelled_while_nobody_knows_whether_it_arrived_is_looked_up_first(
    hub: Hub, target: FakeTarget, customer: str
) -> None:
    target.fail(method="POST", entity="order", drop="after")
    hub.until(order := confirmed(hub, customer), "in_doubt")
    assert len(target.of("order")) == 1

    cancel(hub, order, customer)
    hub.quiet(0.3)
    assert hub.states(order) == ["in_doubt", "pending"]
    hub.hurry(order)

    hub.until(order, "superseded", "delivered")
    assert target.of("order") == []


def test_what_a_failed_call_left_half_made_is_found_and_taken_back(
    hub: Hub, target: FakeTarget, customer: str
) -> None:
    target.fail(method="POST", entity="order", status=422, message="no such product")
    hub.until(order := confirmed(hub, customer), "dead")
    target.put("order", order, {"number": "SO-1"})

    cancel(hub, order, customer)

    hub.until(order, "dead", "delivered")
    assert target.of("order") == []


def test_a_cancellation_that_the_target_refuses_is_dead_with_its_reason(
    hub: Hub, target: FakeTarget, customer: str
) -> None:
    hub.until(order := confirmed(hub, customer), "delivered")
    target.fail(method="DELETE", status=422, message="its shipment has left")

    cancel(hub, order, customer)

    hub.until(order, "delivered", "dead")
    assert "its shipment has left" in (hub.deliveries(order)[1].last_error or "")
    assert hub.binding(order).state == "bound"


def test_what_is_gone_at_the_target_already_counts_as_taken_back(
    hub: Hub, target: FakeTarget, customer: str
) -> None:
    hub.until(order := confirmed(hub, customer), "delivered")
    target.rows = {id: row for id, row in target.rows.items() if row.entity != "order"}

    cancel(hub, order, customer)

    hub.until(order, "delivered", "delivered")
    eventually(lambda: hub.binding(order).state == "unbound")
