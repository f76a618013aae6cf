"""Answers put together from several services: all at once, never a hang, and what is missing is named."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import eventlet
import pytest
from werkzeug.datastructures import Headers

from chassis.context import Subject
from contracts import customers, errors, integrations
from contracts.operation import Operation
from contracts.schema import load
from gateway import exchange, gathering
from gateway.calls import GATEWAY
from gateway.composition import MOST_ITEMS, Asking, Composition, Part, zone_named
from gateway.compositions.customer_overview import CUSTOMER_OVERVIEW
from gateway.compositions.my_day import MY_DAY
from gateway.compositions.order_deliveries import ORDER_DELIVERIES
from gateway.gathering import Errand, gather
from gateway.routes import ROUTES
from tests.unit.gateway.parcels import ID

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = dt.datetime(2026, 11, 22, 7, 30, tzinfo=SHANGHAI)
COMPOSITIONS = {route.path: route.operation for route in ROUTES if isinstance(route.operation, Composition)}
EVERYTHING = {"*": {"*": "all"}}
PARTS = [(composition, part) for composition in COMPOSITIONS.values() for part in composition.parts]


@dataclass
class Said:
    """An answer, as the caller brings it."""

    document: dict[str, Any]
    replayed: bool = False

    @property
    def value(self) -> dict[str, Any]:
        return self.document


@dataclass
class Rooms:
    """Services that answer an empty page, or what a test laid ready: an answer, an error, or something to be done."""

    ready: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any], Subject, float | None]] = field(default_factory=list)

    def call(self, operation: Operation, request: dict[str, Any], *, subject: Subject,
             timeout_s: float | None = None, **_: Any) -> Said:
        self.asked.append((operation.name, request, subject, timeout_s))
        answer = self.ready.get(operation.name, {"items": [], "next": None, "id": ID})
        if callable(answer):
            answer = answer()
        if isinstance(answer, BaseException):
            raise answer
        return Said(answer)


def ask(composition: Composition, rooms: Rooms, *, language: Any = "en", select: set[str] | None = None,
        depths: Any = EVERYTHING) -> dict[str, Any]:
    subject = Subject("u1", "user", "Li Na", depths=depths)
    request = {"id": ID} if "id" in composition.request().fields else {}
    return gather(composition, request, Errand(rooms, subject, "r1", "", language), NOW, select)


def asked_of(composition: Composition, name: str) -> dict[str, Any]:
    part = next(part for part in composition.parts if part.name == name)
    return part.request(Asking({"id": ID}, Subject("u1", "user", "Li Na"), NOW))


@pytest.mark.parametrize("composition", COMPOSITIONS.values(), ids=lambda one: one.name)
def test_an_answer_has_every_field_of_its_document_whatever_came(composition: Composition) -> None:
    broken = {"list_tickets": errors.Unavailable(), "list_deliveries_of_record": errors.Forbidden()}
    for rooms in (Rooms(), Rooms(broken)):
        assert set(ask(composition, rooms)) == set(composition.response().fields)


def test_a_part_that_is_away_is_null_and_named_and_the_others_are_there() -> None:
    away = errors.Unavailable("The sales service is not there", retry_after_s=2)
    overview = ask(CUSTOMER_OVERVIEW, Rooms({"list_orders": away}))
    assert overview["orders"] is None
    assert overview["missing"] == [
        {"part": "orders", "code": "unavailable", "message": "The sales service is not there"}]
    assert overview["tickets"] == {"items": [], "more": False,
                                   "href": f"/api/v1/tickets?customer_id={ID}&unresolved=true"}


def test_what_is_missing_is_told_in_chinese() -> None:
    rooms = Rooms({"list_orders": errors.Unavailable("The sales service is not there"),
                   "list_tickets": errors.Forbidden("Li Na may not read records of the kind ticket")})
    told = {one["part"]: one["message"] for one in ask(CUSTOMER_OVERVIEW, rooms, language="zh-CN")["missing"]}
    assert told == {"orders": "sales 服务暂时不可用。", "tickets": "您没有这项权限：ticket:read。"}


def test_a_part_that_may_not_be_read_is_named_forbidden() -> None:
    overview = ask(CUSTOMER_OVERVIEW, Rooms({"list_tickets": errors.Forbidden()}))
    assert [(one["part"], one["code"]) for one in overview["missing"]] == [("tickets", "forbidden")]


def test_a_part_for_which_there_is_no_right_is_not_asked() -> None:
    rooms = Rooms()
    overview = ask(CUSTOMER_OVERVIEW, rooms, depths={"customer": {"read": "all"}, "order": {"read": "own"}})
    assert {"get_customer", "list_orders"} <= {name for name, *_ in rooms.asked}
    assert "list_tickets" not in {name for name, *_ in rooms.asked}
    assert ("tickets", "forbidden") in [(one["part"], one["code"]) for one in overview["missing"]]


def test_a_broken_part_does_not_take_the_others_with_it_nor_tell_what_broke() -> None:
    overview = ask(CUSTOMER_OVERVIEW, Rooms({"list_orders": RuntimeError("secret")}))
    assert [(one["part"], one["code"]) for one in overview["missing"]] == [("orders", "internal_error")]
    assert "secret" not in str(overview)


def test_a_token_that_a_service_refuses_is_our_fault_and_not_the_clients() -> None:
    with pytest.raises(errors.InternalError):
        ask(CUSTOMER_OVERVIEW, Rooms({"get_customer": errors.Unauthenticated()}))


@pytest.mark.parametrize("error", [errors.NotFound(), errors.Forbidden(), errors.Unavailable()])
@pytest.mark.parametrize("composition", [CUSTOMER_OVERVIEW, ORDER_DELIVERIES], ids=lambda one: one.name)
def test_without_the_record_itself_nothing_is_asked_and_nothing_told(composition: Composition,
                                                                     error: errors.HubError) -> None:
    assert composition.anchor is not None
    rooms = Rooms({composition.anchor.operation.name: error})
    with pytest.raises(type(error)):
        ask(composition, rooms)
    assert len(rooms.asked) == 1


def test_the_parts_are_asked_at_the_same_time() -> None:
    begun, together = list[str](), Event()

    def waits_for_the_others(name: str) -> dict[str, Any]:
        begun.append(name)
        if len(begun) == len(CUSTOMER_OVERVIEW.parts):
            together.set()
        assert together.wait(1.0), "it was asked alone"
        return {"items": [], "next": None}

    names = [part.operation.name for part in CUSTOMER_OVERVIEW.parts]
    assert ask(CUSTOMER_OVERVIEW, Rooms({name: partial(waits_for_the_others, name) for name in names}))["missing"] == []
    assert sorted(begun) == sorted(names)


def test_calls_that_do_not_end_by_themselves_are_waited_for_no_longer_than_a_part_may_take(
    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.gathering.GRACE_S", -1.1)
    began = time.monotonic()
    never: dict[str, Any] = {part.operation.name: lambda: eventlet.sleep(60) for part in CUSTOMER_OVERVIEW.parts}
    overview = ask(CUSTOMER_OVERVIEW, Rooms(never))
    assert [(one["part"], one["code"]) for one in overview["missing"]] == [
        (part.name, "deadline_exceeded") for part in CUSTOMER_OVERVIEW.parts]
    assert time.monotonic() - began < 0.4 * len(never), "0.4 s for all together, not for one after the other"


def test_what_a_slow_record_took_is_not_given_to_its_parts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gathering.ALL_S + gathering.GRACE_S <= 2
    monkeypatch.setattr(gathering, "ALL_S", 0.5)
    rooms = Rooms({"get_customer": lambda: (eventlet.sleep(0.2), {"id": ID})[1]})
    assert ask(CUSTOMER_OVERVIEW, rooms)["missing"] == []
    first, *rest = [timeout_s for *_, timeout_s in rooms.asked]
    assert first == 1.5
    assert {timeout_s is not None and 0 < timeout_s <= 0.3 for timeout_s in rest} == {True}


@pytest.mark.parametrize(("composition", "part"), PARTS, ids=lambda one: one.name)
def test_every_part_has_a_deadline_under_two_seconds_and_a_bound(composition: Composition, part: Part) -> None:
    assert part.within_s < 2
    rooms = Rooms()
    ask(composition, rooms)
    assert {timeout_s for *_, timeout_s in rooms.asked} == {1.5}
    assert part.request(Asking({"id": ID}, Subject("u1", "user", ""), NOW))["limit"] == MOST_ITEMS == 20


@pytest.mark.parametrize(("composition", "part"), PARTS, ids=lambda one: one.name)
def test_the_way_to_the_whole_list_is_a_route_that_asks_the_same(composition: Composition, part: Part) -> None:
    asking = Asking({"id": ID}, Subject(ID, "user", "Li Na"), NOW)
    route = next(route for route in ROUTES if (route.method, route.path) == ("GET", part.path))
    address = urlsplit(part.href(asking))
    assert address.path == route.template.replace("{id}", ID)
    path_args = {"id": ID} if "{id}" in part.path else {}
    arrived = exchange.Arrived(route=route, path=address.path, path_args=path_args, query=address.query,
                               headers=Headers(), body=b"", request_id="r1", traceparent="", language="en")
    understood = exchange.understand(arrived).request
    said = {name: value for name, value in part.request(asking).items() if name not in {*part.unsaid, "limit"}}
    assert {name: understood.get(name) for name in said} == said
    assert dict(parse_qsl(address.query)).keys() <= set(route.free_fields)


@pytest.mark.parametrize(("composition", "part"), PARTS, ids=lambda one: one.name)
def test_a_part_asks_nothing_that_its_operation_would_refuse(composition: Composition, part: Part) -> None:
    request = part.request(Asking({"id": ID}, Subject(ID, "user", "Li Na"), NOW))
    load(part.operation.request, part.operation.request().dump(request))


def test_a_list_that_goes_on_says_so() -> None:
    rooms = Rooms({"list_tickets": {"items": [{"id": ID}], "next": "sealed"}})
    assert ask(CUSTOMER_OVERVIEW, rooms)["tickets"]["more"] is True


def test_a_part_that_nobody_wants_is_not_asked() -> None:
    rooms = Rooms()
    ask(CUSTOMER_OVERVIEW, rooms, select={"customer", "orders"})
    assert [name for name, *_ in rooms.asked] == ["get_customer", "list_orders"]


def test_my_day_ends_at_the_company_s_midnight_and_says_whose() -> None:
    today = ask(MY_DAY, Rooms())
    assert (today["date"], today["time_zone"]) == ("2026-11-22", "Asia/Shanghai")
    midnight = dt.datetime(2026, 11, 22, 16, tzinfo=dt.UTC)
    assert asked_of(MY_DAY, "due_today")["due_before"] == midnight
    assert asked_of(MY_DAY, "follow_ups")["follow_up_before"] == midnight


def test_a_task_is_either_overdue_or_due_today_and_the_present_moment_parts_them() -> None:
    assert asked_of(MY_DAY, "overdue")["due_before"] == NOW == asked_of(MY_DAY, "due_today")["due_from"]


def test_a_day_on_which_the_clock_is_put_back_is_25_hours_long() -> None:
    zone = ZoneInfo("Europe/Berlin")
    asking = Asking({}, Subject("u1", "user", ""), dt.datetime(2026, 10, 25, 0, 0, tzinfo=zone))
    assert asking.tomorrow.astimezone(dt.UTC) - asking.now.astimezone(dt.UTC) == dt.timedelta(hours=25)


def test_my_day_asks_for_what_is_mine_alone() -> None:
    rooms = Rooms()
    ask(MY_DAY, rooms)
    assert all("u1" in (request.get("assignee_id"), request.get("owner_id")) for _, request, _, _ in rooms.asked)
    assert {subject.id for *_, subject, _ in rooms.asked} == {"u1"}


def test_my_day_with_nobody_there_is_an_error_and_not_an_empty_day() -> None:
    gone = errors.Unavailable("The message broker is away")
    with pytest.raises(errors.Unavailable):
        ask(MY_DAY, Rooms(dict.fromkeys(("list_tasks", "list_tickets", "list_customers"), gone)))


def test_my_day_of_somebody_without_rights_is_all_forbidden() -> None:
    no = errors.Forbidden()
    today = ask(MY_DAY, Rooms(dict.fromkeys(("list_tasks", "list_tickets", "list_customers"), no)))
    assert {one["code"] for one in today["missing"]} == {"forbidden"}


@pytest.mark.parametrize(("depths", "shown"), [
    ({}, False), ({"delivery": {"read": "own"}}, False), ({"*": {"read": "team"}}, False),
    ({"delivery": {"read": "all"}}, True)])
def test_what_was_sent_shows_to_whoever_may_read_all_deliveries_alone(depths: Any, shown: bool) -> None:
    rooms = Rooms()
    ask(ORDER_DELIVERIES, rooms, depths=depths)
    (order, _, by, _), (_, request, gateway, _) = rooms.asked
    assert (order, by.id) == ("get_order", "u1")
    assert gateway == GATEWAY
    assert (request["entity"], request["local_id"], request["previews"]) == ("order", ID, shown)


@pytest.mark.parametrize(("operation", "asked", "by_gateway"), [
    (customers.LIST_CUSTOMERS, {"no_such": 1}, False), (customers.CREATE_TASK, {}, False),
    (integrations.LIST_DELIVERIES_OF_RECORD, {}, False), (customers.LIST_TASKS, {}, True)])
def test_a_part_that_cannot_be_asked_is_refused_at_once(operation: Operation, asked: Any, by_gateway: bool) -> None:
    with pytest.raises(ValueError, match="cannot be asked"):
        Part("part", operation, asked, on_behalf_of_gateway=by_gateway)


def test_internal_operations_are_asked_only_behind_an_anchor() -> None:
    for composition in COMPOSITIONS.values():
        if any(part.on_behalf_of_gateway for part in composition.parts):
            assert composition.anchor is not None
            assert not composition.anchor.on_behalf_of_gateway


def test_a_time_zone_that_does_not_exist_is_refused() -> None:
    for name in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(ValueError, match="IANA"):
            zone_named(name)


