"""The doors of the integrations service, asked as the gateway asks them, over a real broker."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from chassis import outbox
from chassis.context import Subject
from chassis.database import new_id
from contracts import customers
from contracts import integrations as contract
from contracts.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    InvalidCursor,
    NotFound,
    StaleVersion,
    Unauthenticated,
)
from contracts.schema import load
from services.integrations import models
from services.integrations.domain import next_steps
from services.integrations.engine.engine import engine_of
from services.integrations.operations import connections as connection_operations
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.processes import eventually
from tests.support.rooms import ADMIN, Rooms
from tests.support.two_way import HOOK, message, signed

SALESPERSON = Subject(id=new_id(), kind="user", name="li", depths={"customer": {"*": "own"}})


@pytest.fixture
def room(rooms: Rooms) -> Rooms:
    rooms.start("integrations")
    return rooms


def connected(room: Rooms, target: FakeTarget, *, key: str = GOOD_KEY) -> dict[str, Any]:
    made: dict[str, Any] = room.call(contract.CREATE_CONNECTION, {
        "name": f"ERP 上海 {new_id()}", "kind": "erp", "adapter": "fake", "config": target.config})
    room.call(contract.PUT_CREDENTIAL, {"id": made["id"], "secrets": {"key": key}})
    return made


def drafted(room: Rooms, connection: dict[str, Any], entity: str) -> dict[str, Any]:
    route: dict[str, Any] = room.call(contract.CREATE_ROUTE, {
        "connection_id": connection["id"], "entity": entity, "direction": "push"})
    return route


def test_a_connection_is_set_up_checked_routed_and_shows_no_secret(room: Rooms, target: FakeTarget) -> None:
    adapters = {a["name"]: a for a in room.call(contract.LIST_ADAPTERS)["items"]}
    assert adapters["fake"]["guarantee"] == "effectively_once"
    assert adapters["fake"]["secret_fields"] == ["key"]
    connection = connected(room, target)

    route = drafted(room, connection, "customer")
    with pytest.raises(Conflict) as refused:
        room.call(contract.ACTIVATE_ROUTE, {"id": route["id"]})
    assert refused.value.fields["gaps"][0]["field"] == "check"
    assert room.call(contract.CHECK_CONNECTION, {"id": connection["id"]})["ok"] is True
    assert room.call(contract.ACTIVATE_ROUTE, {"id": route["id"]})["state"] == "active"

    shown = room.call(contract.GET_CONNECTION, {"id": connection["id"]})
    assert (shown["has_credential"], shown["desired_state"], shown["health"]) == (True, "active", "ok")
    assert GOOD_KEY not in str(shown)
    assert [c["id"] for c in room.call(contract.LIST_CONNECTIONS)["items"]] == [connection["id"]]
    assert room.call(contract.DEACTIVATE_ROUTE, {"id": route["id"]})["state"] == "inactive"


def test_what_is_wrong_with_a_set_up_is_named_by_its_pointer(room: Rooms, target: FakeTarget) -> None:
    def refusals(operation: Any, request: dict[str, Any]) -> list[str]:
        with pytest.raises(Invalid) as refused:
            room.call(operation, request)
        return sorted(f"{error['pointer']} {error['code']}" for error in refused.value.fields["errors"])

    new = {"name": "x", "adapter": "fake", "config": target.config}
    assert refusals(contract.CREATE_CONNECTION, new | {"adapter": "sap"}) == ["/adapter unknown"]
    wrong = {"warehouse": "two", "colour": 1, "base_url": "ftp://x"}
    assert refusals(contract.CREATE_CONNECTION, new | {"config": wrong}) == [
        "/config additionalProperties", "/config/base_url pattern", "/config/warehouse type"]
    assert refusals(contract.CREATE_CONNECTION, new | {"config": wrong | {"allow_private": ["somewhere"]}}) == [
        "/config additionalProperties", "/config/allow_private not_allowed", "/config/base_url pattern",
        "/config/warehouse type"]
    connection = connected(room, target)
    assert refusals(contract.PUT_CREDENTIAL, {"id": connection["id"], "secrets": {"kay": "1"}}) == [
        "/secrets/kay unknown_field", "/secrets/key required"]
    route = {"connection_id": connection["id"], "entity": "ticket", "direction": "push"}
    assert refusals(contract.CREATE_ROUTE, route) == ["/entity unknown"]
    for kind in ("match", "backfill", "replay", "dry_run", "reconcile"):
        asked = {"connection_id": connection["id"], "kind": kind, "entity": "ticket"}
        assert refusals(contract.START_RUN, asked) == ["/entity unknown"]
    pulled = route | {"entity": "order", "direction": "pull"}
    assert refusals(contract.CREATE_ROUTE, pulled) == ["/direction unsupported"]
    assert refusals(contract.CREATE_ROUTE, route | {"entity": "product"}) == ["/direction unsupported"]
    assert refusals(contract.CREATE_ROUTE, route | {"entity": "customer", "owners": {"name": "remote"}}) == [
        "/owners/name unknown"]
    with pytest.raises(AlreadyExists):
        room.call(contract.CREATE_CONNECTION, new | {"name": connection["name"]})


def test_a_wrong_key_keeps_a_route_from_being_switched_on_and_says_why(room: Rooms, target: FakeTarget) -> None:
    connection = connected(room, target, key="wrong")
    check = room.call(contract.CHECK_CONNECTION, {"id": connection["id"]})
    assert (check["ok"], check["problems"][0]["field"]) == (False, "key")
    route = drafted(room, connection, "order")

    with pytest.raises(Conflict) as refused:
        room.call(contract.ACTIVATE_ROUTE, {"id": route["id"]})

    assert refused.value.fields["gaps"] == check["problems"]


def test_a_change_needs_the_version_that_was_read_and_a_new_check(room: Rooms, target: FakeTarget) -> None:
    connection = connected(room, target)
    change = {"id": connection["id"], "expected_version": 1, "changes": {"max_in_flight": 2, "name": "新的名字"}}
    assert room.call(contract.CHANGE_CONNECTION, change)["version"] == 2
    with pytest.raises(StaleVersion):
        room.call(contract.CHANGE_CONNECTION, change)


def test_who_has_no_right_to_connections_sees_none(room: Rooms, target: FakeTarget) -> None:
    connection = connected(room, target)
    with pytest.raises(Forbidden):
        room.call(contract.GET_CONNECTION, {"id": connection["id"]}, subject=SALESPERSON)
    own = Subject(id=new_id(), kind="user", name="x",
                  depths={"connection": {"read": "own"}, "delivery": {"read": "team"}})
    with pytest.raises(NotFound):
        room.call(contract.GET_CONNECTION, {"id": connection["id"]}, subject=own)
    assert room.call(contract.LIST_CONNECTIONS, subject=own)["items"] == []
    assert room.call(contract.LIST_DELIVERIES, subject=own)["items"] == []


def announce(room: Rooms, version: int, id: str, **state: Any) -> None:
    """Announce a customer from the integrations service's own outbox: the broker knows no difference."""
    now = "2026-11-22T08:00:00Z"
    data = {"id": id, "version": version, "name": "客户", "kind": "company", "lifecycle": "active", "created_at": now,
            "updated_at": now, "owner_id": None, "created_by": ADMIN.id,
            "phone": None, "email": None, "wechat_id": None, **state}
    runtime = room.running["integrations"].runtime
    kind = customers.CUSTOMER_CREATED if version == 1 else customers.CUSTOMER_UPDATED
    with runtime.db.write() as session:
        outbox.record(session, kind, subject=id, version=version, data=load(kind.data, data), by=ADMIN)


def test_an_announced_customer_reaches_the_target_and_every_step_can_be_read(room: Rooms, target: FakeTarget) -> None:
    connection = connected(room, target)
    room.call(contract.CHECK_CONNECTION, {"id": connection["id"]})
    route = drafted(room, connection, "customer")
    room.call(contract.ACTIVATE_ROUTE, {"id": route["id"]})
    ids = [new_id() for _ in range(3)]

    for id in ids:
        announce(room, 1, id, phone="+8613800138000", name="张三")

    eventually(lambda: room.call(contract.GET_LEDGER, {"id": connection["id"]})["delivered"] == 3, 20, every_s=0.2)
    ledger = room.call(contract.GET_LEDGER, {"id": connection["id"]})
    assert (ledger["accepted"], ledger["open"], ledger["balanced"]) == (3, 0, True)
    assert {row.body["phone"] for row in target.of("customer")} == {"+8613800138000"}

    first = room.call(contract.LIST_DELIVERIES, {"connection_id": connection["id"], "state": "delivered", "limit": 2})
    rest = room.call(contract.LIST_DELIVERIES, {
        "connection_id": connection["id"], "state": "delivered", "limit": 2, "cursor": first["next"]})
    assert [d["local_id"] for d in first["items"] + rest["items"]] == sorted(ids, reverse=True)
    with pytest.raises(InvalidCursor):
        room.call(contract.LIST_DELIVERIES, {"limit": 2, "cursor": first["next"]})
    delivery = room.call(contract.GET_DELIVERY, {"id": first["items"][0]["id"]})
    assert delivery["external_id"] in target.rows
    assert delivery["next_step"] == next_steps.BY_STATE["delivered"]
    [attempt] = room.call(contract.LIST_ATTEMPTS, {"id": delivery["id"]})["items"]
    assert (attempt["outcome"], attempt["http_status"]) == ("succeeded", 201)
    assert GOOD_KEY not in str(attempt)


def test_pausing_says_who_and_why_and_resuming_lets_go(room: Rooms, target: FakeTarget) -> None:
    connection = connected(room, target)
    paused = room.call(contract.PAUSE_CONNECTION, {"id": connection["id"], "reason": "盘点"})
    assert (paused["desired_state"], paused["pause_reason"], paused["paused_by"]) == ("paused", "盘点", ADMIN.id)
    with pytest.raises(Conflict):
        room.call(contract.PULL_NOW, {"id": connection["id"]})
    again = room.call(contract.PAUSE_CONNECTION, {"id": connection["id"], "reason": "ERP upgrade"})
    assert (again["pause_reason"], again["version"]) == ("ERP upgrade", paused["version"] + 1)
    assert room.call(contract.PAUSE_CONNECTION, {"id": connection["id"]}) == again, "no reason takes none away"
    assert room.call(contract.PAUSE_CONNECTION, {"id": connection["id"], "reason": "ERP upgrade"}) == again
    assert room.call(contract.RESUME_CONNECTION, {"id": connection["id"]})["pause_reason"] is None


def test_a_connection_makes_way_until_its_hold_is_committed_or_refused(
        room: Rooms, target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connected(room, target)
    runtime = room.running["integrations"].runtime
    dispatcher = engine_of(runtime).dispatcher
    ways: list[int] = []
    pause, go_on = connection_operations.pause, dispatcher.go_on

    def paused(*args: Any, **options: Any) -> Any:
        ways.append(len(dispatcher._flights._ways))
        return pause(*args, **options)

    def goes_on(id: str) -> None:
        with runtime.db.read() as session:
            assert session.get_one(models.Connection, id).desired_state == "paused"
        go_on(id)

    monkeypatch.setattr(connection_operations, "pause", paused)
    monkeypatch.setattr(dispatcher, "go_on", goes_on)
    room.call(contract.PAUSE_CONNECTION, {"id": connection["id"]})
    monkeypatch.setattr(dispatcher, "go_on", go_on)
    room.call(contract.STOP_CONNECTION, {"id": connection["id"], "reason": "moved"})
    with pytest.raises(Conflict):
        room.call(contract.PAUSE_CONNECTION, {"id": connection["id"]})

    assert (ways, dispatcher._flights._ways) == ([1, 1], {})


def test_a_check_repeated_with_its_key_is_answered_without_asking_the_target(room: Rooms, target: FakeTarget) -> None:
    connection = connected(room, target)
    first = room.ask(contract.CHECK_CONNECTION, {"id": connection["id"]}, key="k")
    calls = len(target.calls())
    again = room.ask(contract.CHECK_CONNECTION, {"id": connection["id"]}, key="k")
    assert (again.value, again.replayed, len(target.calls())) == (first.value, True, calls)
    assert not room.ask(contract.CHECK_CONNECTION, {"id": connection["id"]}, key="another").replayed


def test_a_signed_message_of_a_target_comes_in_through_the_door_and_once(room: Rooms, target: FakeTarget) -> None:
    made = room.call(contract.CREATE_CONNECTION, {"name": f"OA {new_id()}", "adapter": "two_way",
                                                  "config": target.config})
    room.call(contract.PUT_CREDENTIAL, {"id": made["id"], "secrets": {"key": GOOD_KEY, "hook": HOOK}})
    room.call(contract.CHECK_CONNECTION, {"id": made["id"]})
    route = room.call(contract.CREATE_ROUTE, {"connection_id": made["id"], "entity": "task", "direction": "pull"})
    room.call(contract.ACTIVATE_ROUTE, {"id": route["id"]})
    body = message(target.put("task", "theirs", {"title": "买茶"}))
    asked = {"connection_id": made["id"], "headers": signed(body), "body": base64.b64encode(body).decode()}

    def received(**other: Any) -> Any:
        return room.call(contract.RECEIVE_INBOUND, asked | other, subject=Subject.service("gateway"))

    assert received()["known"] is False
    assert received() == {"changes": 0, "known": True}
    with pytest.raises(Unauthenticated):
        received(headers=signed(body, secret="another"))
