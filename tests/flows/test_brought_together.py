"""A customer, a day and an order on one screen, while all rooms are there and while one of them is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.crypto import DataKeys, Keyring, MasterKey
from chassis.database import Database, new_id, utcnow
from chassis.sealed import KEYRING
from services.integrations.models import Attempt, Delivery
from services.integrations.models.attempt import sealed_preview
from services.sales.models import Product
from tests.flows.people import Client, administrator, hire
from tests.flows.test_every_post_repeats import CONFIG
from tests.service.gateway.running import Hub
from tests.support.processes import eventually

PROMISED_S = 2.0
CUSTOMER = {"name": "Evergreen Trading", "kind": "company", "phone": "+86 138 0013 8000"}
PARTS = {"contacts", "orders", "tickets", "tasks", "activities"}


@pytest.fixture(scope="module")
def seller(all_rooms: Hub) -> Client:
    """Somebody who sells: own customers, and no right to deliveries."""
    return hire(all_rooms, f"seller-{uuid4().hex[:8]}", "sales")


def made(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.ask("POST", path, body, Idempotency_Key=str(uuid4()))
    assert answer.status_code == 201, answer.text
    record: dict[str, Any] = answer.json()
    return record


def read(client: Client, path: str, **headers: str) -> dict[str, Any]:
    answer = client.ask("GET", path, **headers)
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] = answer.json()
    return record


def test_a_customer_is_read_with_what_belongs_to_it_and_what_is_done_is_left_out(all_rooms: Hub,
                                                                                  seller: Client) -> None:
    customer = made(seller, "/customers", CUSTOMER)
    contact = made(seller, "/contacts", {"customer_id": customer["id"], "name": "Li Na"})
    subject = {"entity": "customer", "id": customer["id"]}
    task = made(seller, "/tasks", {"title": "Call back", "subject": subject})
    done = made(seller, "/tasks", {"title": "Done", "subject": subject})
    assert seller.ask("POST", f"/tasks/{done['id']}/complete").status_code == 200
    call = made(seller, "/activities", {"kind": "call", "subject": subject})
    overview = read(seller, f"/customers/{customer['id']}/overview")
    assert overview["missing"] == []
    assert overview["customer"] == read(seller, f"/customers/{customer['id']}")
    assert {name: [one["id"] for one in overview[name]["items"]] for name in PARTS} == {
        "contacts": [contact["id"]], "orders": [], "tickets": [], "tasks": [task["id"]], "activities": [call["id"]]}
    for name in PARTS:
        whole = seller.ask("GET", overview[name]["href"].removeprefix("/api/v1"))
        assert whole.json()["items"] == overview[name]["items"], name


def test_the_service_desk_sees_masks_wherever_it_looks_and_none_comes_back_as_a_value(all_rooms: Hub,
                                                                                       seller: Client) -> None:
    customer = made(seller, "/customers", {**CUSTOMER, "name": f"Masked {uuid4().hex[:8]}"})
    made(seller, "/contacts", {"customer_id": customer["id"], "name": "Li Na", "email": "li.na@example.com"})
    at, agent = f"/customers/{customer['id']}", hire(all_rooms, f"desk-{uuid4().hex[:8]}", "service")
    for client, phone, email in ((seller, "+8613800138000", "li.na@example.com"),
                                 (agent, "+86138****8000", "l***@example.com")):
        overview = read(client, f"{at}/overview")
        listed = read(client, f"/customers?q={customer['name'].replace(' ', '%20')}")["items"]
        assert {one["phone"] for one in (read(client, at), overview["customer"], *listed)} == {phone}
        contacts = read(client, f"{at}/contacts")["items"]
        assert {one["email"] for one in (*contacts, *overview["contacts"]["items"])} == {email}
    assert agent.ask("GET", "/customers?phone=13800138000").json()["details"]["action"] == "unmask"
    refused = seller.ask("PATCH", at, {"phone": "+86138****8000"}, If_Match='"1"', Accept_Language="zh-CN")
    assert [(one["code"], one["message"]) for one in refused.json()["errors"]] == [
        ("masked", "这是掩码后的内容；请填写完整内容，或不要发送此字段。")]
    assert read(seller, at)["phone"] == "+8613800138000"


def test_a_customer_out_of_reach_is_404_and_not_an_empty_overview(all_rooms: Hub, seller: Client) -> None:
    somebody_elses = made(administrator(all_rooms), "/customers", CUSTOMER)
    assert seller.ask("GET", f"/customers/{somebody_elses['id']}/overview").status_code == 404


def test_my_day_holds_my_own_overdue_tasks_tickets_and_follow_ups(all_rooms: Hub) -> None:
    me, other = (hire(all_rooms, f"{name}-{uuid4().hex[:8]}", "manager") for name in ("me", "other"))
    late = made(me, "/tasks", {"title": "Late", "due_at": "2020-01-01T00:00:00Z"})
    made(me, "/tasks", {"title": "Some day"})
    made(other, "/tasks", {"title": "Not mine", "due_at": "2020-01-01T00:00:00Z"})
    mine = made(me, "/customers", CUSTOMER | {"next_follow_up_at": "2020-01-01T00:00:00Z"})
    made(me, "/customers", CUSTOMER | {"next_follow_up_at": "2999-01-01T00:00:00Z"})
    made(me, "/customers", CUSTOMER)
    today = read(me, "/me/today")
    assert (today["missing"], today["time_zone"]) == ([], "UTC")
    assert [one["id"] for one in today["overdue"]["items"]] == [late["id"]]
    assert today["due_today"]["items"] == []
    assert [one["id"] for one in today["follow_ups"]["items"]] == [mine["id"]]


def test_a_service_that_is_stopped_is_named_within_two_seconds_and_the_rest_is_there(all_rooms: Hub,
                                                                                      seller: Client) -> None:
    customer = made(seller, "/customers", CUSTOMER)
    path = f"/customers/{customer['id']}/overview"
    with stopped(all_rooms, "sales"):
        began = time.monotonic()
        overview = read(seller, path, Accept_Language="zh-CN")
        took = time.monotonic() - began
    assert took < PROMISED_S, f"answered after {took:.1f} s"
    assert [(one["part"], one["code"]) for one in overview["missing"]] == [("orders", "unavailable")]
    assert overview["missing"][0]["message"] == "sales 服务暂时不可用。"
    assert overview["orders"] is None
    assert overview["tasks"]["items"] == []
    eventually(lambda: read(seller, path)["missing"] == [], 30)


def test_a_service_that_stands_still_is_waited_for_no_longer_than_two_seconds(all_rooms: Hub, seller: Client) -> None:
    customer = made(seller, "/customers", CUSTOMER)
    all_rooms.rooms["tickets"].pause()
    try:
        began = time.monotonic()
        answers = [read(seller, f"/customers/{customer['id']}/overview"), read(seller, "/me/today")]
        took = time.monotonic() - began
    finally:
        all_rooms.rooms["tickets"].resume()
    assert took < 2 * PROMISED_S, f"two answers after {took:.1f} s"
    for answer in answers:
        assert [(one["part"], one["code"]) for one in answer["missing"]] == [("tickets", "deadline_exceeded")]


def test_whoever_sees_an_order_reads_where_it_stands_and_what_was_sent_by_the_right_to_deliveries_alone(
        all_rooms: Hub, seller: Client) -> None:
    order = ordered(all_rooms, seller)
    path = f"/orders/{order['id']}/deliveries"
    assert read(seller, path) == {"order": read(seller, f"/orders/{order['id']}"), "missing": [], "deliveries": {
        "items": [], "more": False, "href": f"/api/v1/deliveries?entity=order&local_id={order['id']}"}}
    refused(all_rooms, order["id"])
    (mine,), (theirs,) = (read(client, path)["deliveries"]["items"] for client in (seller, administrator(all_rooms)))
    assert (mine["state"], mine["error_class"], mine["reason"]) == ("dead", "invalid", "No such tax code")
    assert "settings of the connection" in mine["next_step"]["en"]
    assert [(one["n"], one["http_status"], one["request_preview"]) for one in mine["tries"]] == [(1, 422, None)]
    assert [one["request_preview"] for one in theirs["tries"]] == ["POST /sale"]
    assert seller.ask("GET", "/deliveries").status_code == 403


def test_an_order_is_read_without_its_deliveries_while_nobody_can_tell_of_them(all_rooms: Hub, seller: Client) -> None:
    path = f"/orders/{ordered(all_rooms, seller)['id']}/deliveries"
    with stopped(all_rooms, "integrations"):
        began = time.monotonic()
        answer = read(seller, path)
        took = time.monotonic() - began
    assert took < PROMISED_S, f"answered after {took:.1f} s"
    assert answer["deliveries"] is None
    assert [(one["part"], one["code"]) for one in answer["missing"]] == [("deliveries", "unavailable")]
    assert seller.ask("GET", f"/orders/{new_id()}/deliveries").status_code == 404


def ordered(hub: Hub, client: Client, **more: Any) -> dict[str, Any]:
    """Order something, once there is something to sell and sales has heard of the customer."""
    sku, now = f"S-{uuid4().hex[:8]}", utcnow()
    with Session(sa.create_engine(f"sqlite:///{hub.home}/db/sales.sqlite", poolclass=sa.NullPool)) as session:
        session.add(Product(id=new_id(), version=1, sku=sku, sku_key=sku.casefold(), name="A", name_key="a",
                            currency="CNY", price=Decimal(10), on_hand=Decimal(1000), stock_at=now,
                            connection_id=new_id(), external_id=sku, created_at=now, updated_at=now))
        session.commit()
    body = {"customer_id": made(client, "/customers", CUSTOMER)["id"], "currency": "CNY",
            "lines": [{"sku": sku, "quantity": "1"}], **more}
    answers = []

    def accepted() -> bool:
        answers.append(client.ask("POST", "/orders", body, Idempotency_Key=str(uuid4())))
        return bool(answers[-1].status_code == 201)

    eventually(accepted, 15, every_s=0.3)
    order: dict[str, Any] = answers[-1].json()
    return order


def refused(hub: Hub, order_id: str) -> None:
    """Put a delivery of the order that its target refused, as the engine would; no target is there to do so."""
    connection = made(administrator(hub), "/connections", {"name": f"ERP {uuid4()}", "adapter": "tryton",
                                                            "config": CONFIG})
    uri = f"sqlite:///{hub.home}/db/integrations.sqlite"
    keyring = Keyring(MasterKey.load(hub.home / "keys" / "master.key"), DataKeys(uri))
    db, id, now = Database(uri, info={KEYRING: keyring}), new_id(), utcnow()
    with db.write() as session:
        session.add(Delivery(id=id, connection_id=connection["id"], entity="order", local_id=order_id, op="upsert",
                             source_version=1, idempotency_key=id, state="dead", error_class="invalid",
                             last_error="No such tax code", due_at=now, created_at=now, settled_at=now))
        session.flush()
        session.add(Attempt(delivery_id=id, n=1, fence=1, action="write", started_at=now, http_status=422,
                            request_preview_sealed=sealed_preview(session, "request_preview", id, 1, "POST /sale")))
    db.close()


@contextmanager
def stopped(hub: Hub, room: str) -> Iterator[None]:
    """Stop a room as an operator does, and start it again."""
    hub.rooms[room].terminate()
    try:
        yield
    finally:
        hub.rooms[room] = hub.processes.room(room, hub.environ)
