"""What became of bringing a record to other systems, as whoever may see the record is told it."""

from __future__ import annotations

from typing import Any

from chassis.database import new_id, utcnow
from contracts import deliveries as contract
from contracts.schema import load, pack, page_of
from services.integrations.models import Attempt, Connection
from services.integrations.queries import fates
from tests.service.integrations.conftest import CONFIRMED, Hub
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.plans import Plainly
from tests.support.rooms import ADMIN


def told(hub: Hub, local_id: str, **asked: Any) -> list[dict[str, Any]]:
    request = load(contract.DeliveriesOfRecord, {"entity": "customer", "local_id": local_id, **asked})
    with hub.db.read() as session:
        page = fates.of_record(session, request, ADMIN, Plainly())
        items: list[dict[str, Any]] = pack(page_of(contract.DeliveryTold), page)["items"]
    return items


def test_a_delivery_is_told_with_its_connection_its_calls_and_what_comes_next(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    customer_id = hub.customer()
    hub.until(customer_id, "delivered")
    (one,) = told(hub, customer_id)
    assert (one["connection_id"], one["connection"]) == (connection_id, hub.connection(connection_id).name)
    assert (one["state"], one["error_class"], one["reason"]) == ("delivered", None, None)
    assert one["next_step"]["en"].startswith("It has arrived")
    assert [attempt["action"] for attempt in one["tries"]] == ["write"]


def test_what_was_sent_is_told_only_when_it_is_asked_for(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    customer_id = hub.customer(name="李雷")
    hub.until(customer_id, "delivered")
    previews = [(attempt["request_preview"], attempt["response_preview"])
                for one in told(hub, customer_id) for attempt in one["tries"]]
    assert previews == [(None, None)]
    assert "李雷" in str(told(hub, customer_id, previews=True)[0]["tries"][0]["request_preview"])


def test_the_deliveries_of_other_records_and_entities_are_not_told(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    mine, _other = hub.customer(), hub.customer()
    assert len(told(hub, mine)) == 1
    assert told(hub, mine, entity="order") == []


def test_of_hundreds_of_calls_the_latest_twenty_are_told_first_to_last(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    customer_id, other_id = hub.customer(), hub.customer()
    made = [Attempt(delivery_id=hub.deliveries(id)[0].id, n=n, fence=n, action="write", started_at=utcnow())
            for id, many in ((customer_id, 50), (other_id, 3)) for n in range(1, many + 1)]
    with hub.db.write() as session:
        session.add_all(made)
    assert [attempt["n"] for attempt in told(hub, customer_id)[0]["tries"]] == list(range(31, 51))


def test_what_waits_at_a_paused_connection_says_that_it_waits_for_a_person(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    customer_id = hub.customer()
    with hub.db.write() as session:
        connection = session.get_one(Connection, connection_id)
        connection.desired_state, connection.pause_code = "paused", "auth"
    assert "凭据" in told(hub, customer_id)[0]["next_step"]["zh-CN"]


def test_an_order_whose_customer_was_refused_names_that_delivery_with_its_reason_and_what_to_do(
        hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer", "order")
    target.fail(method="POST", entity="customer", times=10**6, status=422, message="no tax number")
    hub.run()
    customer_id, order_id = hub.customer(), new_id()
    hub.tell(CONFIRMED, order_id, 1, customer_id=customer_id)
    hub.until(order_id, "dead")
    (one,) = told(hub, order_id, entity="order")
    needed = one["needs"]
    assert (one["error_class"], needed["entity"], needed["local_id"]) == ("dependency_missing", "customer", customer_id)
    assert (needed["id"], needed["error_class"]) == (hub.deliveries(customer_id)[-1].id, "invalid")
    assert "no tax number" in needed["reason"]
    assert needed["next_step"]["en"].startswith("The external system refused")
    assert told(hub, customer_id)[0]["needs"] is None


def test_a_record_that_was_never_to_go_anywhere_has_no_deliveries(hub: Hub) -> None:
    assert told(hub, new_id()) == []


def test_no_secret_and_nobodys_phone_is_told_of_a_call(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    target.fail(method="POST", status=422, message=f"+8613800138000 is taken; key {GOOD_KEY}")
    hub.run()
    customer_id = hub.customer(phone="+8613800138000")
    hub.until(customer_id, "dead")
    [attempt] = told(hub, customer_id, previews=True)[0]["tries"]
    shown = f"{attempt['request_preview']} {attempt['response_preview']}"
    assert "+86138****8000" in attempt["request_preview"]
    assert "is taken" in attempt["response_preview"]
    assert not [one for one in ("13800138000", GOOD_KEY) if one in shown]
