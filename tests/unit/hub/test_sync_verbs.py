"""What `hub connections`, `routes`, `deliveries`, `conflicts` and `api` ask of the gateway, and say of its answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_gateway import CHECK, CONNECTION, ERP, Gateway

ORDER = "019aa001-0000-7000-8000-00000000000a"
PAUSED = {**CONNECTION, "desired_state": "paused", "health": "auth_failed", "pause_reason": "the key was refused",
          "pause_advice": {"en": "Store a good key.", "zh-CN": "请保存有效的密钥。"}}  # fmt: skip
SUMS = {"accepted": 3, "delivered": 1, "skipped": 0, "superseded": 1, "dead": 0, "cancelled": 0, "open": 1}


def test_connections_are_listed_with_what_is_wanted_and_what_is_seen(gateway: Gateway) -> None:
    shown = gateway.hub("connections", "list")
    assert shown.exit_code == 0
    assert shown.output.splitlines()[1].split() == ["erp", "tryton", "active", "ok", "effectively_once", ERP]


def test_a_connection_that_does_not_work_says_why_and_what_to_do_in_both_languages(gateway: Gateway) -> None:
    gateway.on(f"GET /connections/{ERP}", PAUSED)
    shown = gateway.hub("connections", "show", "erp")
    assert shown.exit_code == 3
    assert "paused by the hub: the key was refused" in shown.output
    assert "→ Store a good key." in shown.output
    assert "→ 请保存有效的密钥。" in shown.output


@pytest.mark.parametrize(("check", "said"), [
    (None, "never checked 从未检查: hub connections check erp"),
    ({**CHECK, "ok": False}, "✗ checked"),
    (CHECK, "✓ checked"),
])  # fmt: skip
def test_a_connection_works_if_its_last_check_says_so(
    gateway: Gateway, check: dict[str, Any] | None, said: str
) -> None:
    gateway.on(f"GET /connections/{ERP}", {**CONNECTION, "check": check})
    shown = gateway.hub("connections", "show", "erp")
    assert (shown.exit_code, said in shown.output) == (0 if said.startswith("✓") else 3, True)


def test_a_check_that_passed_does_not_count_once_the_system_is_down(gateway: Gateway) -> None:
    gateway.on(f"GET /connections/{ERP}", {**CONNECTION, "health": "open"})
    shown = gateway.hub("connections", "show", "erp")
    assert (shown.exit_code, "✓" in shown.output) == (3, False)
    assert "passed its check 2026-11-22T08:00:00, and is open now" in shown.output


def test_a_check_that_finds_a_problem_names_it_and_ends_with_three(gateway: Gateway) -> None:
    wrong = {"ok": False, "message": "not ready", "checked_at": "2026-11-22T08:00:00.000000Z",
             "problems": [{"field": "/config/web_shop", "message": "there is none"}]}  # fmt: skip
    gateway.on(f"POST /connections/{ERP}/check", wrong)
    shown = gateway.hub("connections", "check", "erp")
    assert (shown.exit_code, "/config/web_shop: there is none" in shown.output) == (3, True)


@pytest.mark.parametrize(("verb", "body"), [
    (("pause", "erp", "--reason", "year end"), {"reason": "year end"}), (("resume", ERP), None),
    (("stop", "erp", "--reason", "moved"), {"reason": "moved"})])  # fmt: skip
def test_pausing_and_resuming_are_one_request_by_name_or_id(
    gateway: Gateway, verb: tuple[str, ...], body: Mapping[str, Any] | None
) -> None:
    gateway.on(f"POST /connections/{ERP}/{verb[0]}", CONNECTION)
    assert gateway.hub("connections", *verb).exit_code == 0
    asked = gateway.server.requests[-1]
    assert (asked.method, json.loads(asked.body or b"null")) == ("POST", body)
    assert asked.headers["idempotency-key"]


@pytest.mark.parametrize(("balanced", "code"), [(True, 0), (False, 3)])
def test_a_ledger_shows_its_sum_and_whether_it_adds_up(gateway: Gateway, balanced: bool, code: int) -> None:
    gateway.on(f"GET /connections/{ERP}/ledger", {"connection_id": ERP, "balanced": balanced, **SUMS})
    shown = gateway.hub("connections", "ledger", "erp")
    assert shown.exit_code == code
    sum_, _verdict = shown.output.splitlines()
    assert sum_ == "accepted 3 = 1 delivered + 0 skipped + 1 superseded + 0 dead + 0 cancelled + 1 open"


def test_a_stopped_connection_says_who_stopped_it(gateway: Gateway) -> None:
    gateway.on(f"GET /connections/{ERP}", {**CONNECTION, "desired_state": "stopped", "paused_by": "u1"})
    assert "  stopped by u1\n" in gateway.hub("connections", "show", ERP).output


def test_a_pull_says_what_is_asked_for(gateway: Gateway) -> None:
    gateway.on(f"POST /connections/{ERP}/pull", {"connection_id": ERP, "entities": ["product", "order"]})
    assert gateway.hub("connections", "pull", "erp").output == "asked for 已请求: product, order\n"


def test_routes_are_listed_by_the_names_of_their_connections(gateway: Gateway) -> None:
    route = {"id": "019ab", "connection_id": ERP, "entity": "order", "direction": "both", "state": "active",
             "mapping_version": 2}  # fmt: skip
    gateway.on("GET /routes", {"items": [route], "next": None})
    shown = gateway.hub("routes", "list", "--connection", "erp").output
    assert shown.splitlines()[1].split() == ["erp", "order", "both", "active", "version", "2", "019ab"]
    assert f"connection_id={ERP}" in next(one.path for one in gateway.server.requests if "/routes" in one.path)


def test_deliveries_are_listed_page_by_page_up_to_what_was_asked(gateway: Gateway) -> None:
    one = {"id": "019ac", "entity": "order", "local_id": "7", "op": "upsert", "state": "dead", "error_class": "invalid",
           "created_at": "2026-11-22T08:00:00.000000Z"}  # fmt: skip
    gateway.on("GET /deliveries", {"items": [one] * 2, "next": "more"})
    shown = gateway.hub("deliveries", "list", "--state", "dead", "--error-class", "invalid", "--most", "3").output
    assert shown.splitlines()[1].split() == [
        "019ac", "order", "7", "upsert", "dead", "invalid", "2026-11-22T08:00:00"]
    asked = [seen.path.partition("?")[2] for seen in gateway.server.requests]
    only = "state=dead&error_class=invalid"
    assert asked == [f"{only}&limit=3", f"{only}&limit=1&cursor=more"]


def test_a_delivery_says_whose_record_a_person_has_found(gateway: Gateway) -> None:
    record = {"entity": "order", "local_id": "7", "connection_id": ERP}
    gateway.on("GET /deliveries/019ac", record)
    gateway.on(f"POST /connections/{ERP}/bindings", {**record, "external_id": "35"})
    shown = gateway.hub("deliveries", "bind", "019ac", "35", "--reason", "the customer's reference is on it")
    assert shown.output.splitlines() == ["order 7 is 35 there. Send what is missing: hub retry DELIVERY",
                                         "order 7 在对方系统中是 35。发送尚缺的内容：hub retry DELIVERY"]  # fmt: skip
    assert json.loads(gateway.server.requests[-1].body) == {
        "entity": "order", "local_id": "7", "external_id": "35", "reason": "the customer's reference is on it"}


def test_a_waiting_delivery_is_called_off(gateway: Gateway) -> None:
    told = {"op": "upsert", "entity": "order", "local_id": "7", "state": "cancelled"}
    gateway.on("POST /deliveries/019ac/cancel", told)
    shown = gateway.hub("deliveries", "cancel", "019ac", "--reason", "entered by hand")
    assert (shown.exit_code, shown.output) == (0, "upsert order 7  cancelled\n")
    assert json.loads(gateway.server.requests[-1].body) == {"reason": "entered by hand"}


def test_a_connection_that_nobody_knows_is_told_with_where_to_look(gateway: Gateway) -> None:
    said = gateway.hub("connections", "pause", "elsewhere", "--json")
    assert said.exit_code == 1
    told = json.loads(said.output)
    assert told["problem"] == "there is no connection 'elsewhere'"
    assert told["remedy"] == "hub connections list shows them"
    assert told["zh-CN"]["remedy"] == "hub connections list 列出所有连接"


def test_a_route_is_switched_by_its_connection_and_entity(gateway: Gateway) -> None:
    gateway.on("GET /routes", {"items": [{"id": "019ab"}], "next": None})
    gateway.on("POST /routes/019ab/activate", {"entity": "customer", "direction": "push", "state": "active"})
    shown = gateway.hub("routes", "activate", "erp", "customer")
    assert (shown.exit_code, shown.output) == (0, "customer  push  active\n")
    assert f"connection_id={ERP}&entity=customer" in gateway.server.requests[-2].path


def test_a_route_is_switched_on_without_a_match_for_a_reason(gateway: Gateway) -> None:
    gateway.on("GET /routes", {"items": [{"id": "019ab"}], "next": None})
    gateway.on("POST /routes/019ab/activate", {"entity": "customer", "direction": "push", "state": "active"})
    assert gateway.hub("routes", "activate", "erp", "customer", "--without-matching", "it is new").exit_code == 0
    assert json.loads(gateway.server.requests[-1].body) == {"without_matching": True, "reason": "it is new"}


def test_a_route_that_is_not_there_is_told(gateway: Gateway) -> None:
    gateway.on("GET /routes", {"items": [], "next": None})
    said = gateway.hub("routes", "deactivate", "erp", "task")
    assert (said.exit_code, "no route for 'task'" in said.output) == (1, True)


@pytest.mark.parametrize(("options", "shows"), [((), False), (("--calls",), True)])
def test_a_delivery_is_shown_with_its_calls_and_on_request_with_what_they_said(
    gateway: Gateway, options: tuple[str, ...], shows: bool
) -> None:
    gateway.on("GET /deliveries/019ac", {
        "op": "upsert", "entity": "order", "local_id": "7", "source_version": 2, "state": "dead",
        "error_class": "invalid", "last_error": "/lines: no such product",
        "next_step": {"en": "Correct the order.", "zh-CN": "请更正订单。"}})  # fmt: skip
    gateway.on("GET /deliveries/019ac/attempts", {"next": None, "items": [{
        "n": 1, "started_at": "2026-11-22T08:00:00Z", "action": "write", "outcome": "failed", "http_status": 400,
        "request_preview": "what was sent", "response_preview": None}]})  # fmt: skip
    shown = gateway.hub("deliveries", "show", "019ac", *options).output
    assert shown.splitlines()[:5] == [
        "upsert order 7 version 2  dead (invalid)", "  /lines: no such product", "  → Correct the order.",
        "  → 请更正订单。",
        "  call 1, 2026-11-22T08:00:00Z: write, failed HTTP 400"]  # fmt: skip
    assert ("what was sent" in shown) == shows


def test_a_delivery_that_waits_is_shown_with_the_time_of_its_next_try(gateway: Gateway) -> None:
    gateway.on("GET /deliveries/019ac", {
        "op": "upsert", "entity": "order", "local_id": "7", "source_version": 2, "state": "retry_wait",
        "error_class": "transient", "last_error": None, "due_at": "2026-11-22T08:00:00.123456Z",
        "next_step": {"en": "Nothing to do."}})  # fmt: skip
    gateway.on("GET /deliveries/019ac/attempts", {"next": None, "items": []})
    assert gateway.hub("deliveries", "show", "019ac").output.splitlines() == [
        "upsert order 7 version 2  retry_wait (transient)", "  due 2026-11-22T08:00:00 UTC", "  → Nothing to do."]


@pytest.mark.parametrize(("status", "routes", "wanted", "said"), [
    ("draft", [], "active", "Confirm it"),
    ("cancelled", [{"connection_id": ERP, "direction": "push"}], "active", "the order was cancelled"),
    ("confirmed", [], "active", "no active route brings orders anywhere"),
    ("confirmed", [{"connection_id": ERP, "direction": "pull"}], "active", "no active route brings orders anywhere"),
    ("confirmed", [{"connection_id": ERP, "direction": "both"}], "stopped", "hub connections resume 'the ERP'"),
    ("confirmed", [{"connection_id": ERP, "direction": "push"}], "active", "hub runs start backfill 'the ERP' order"),
])  # fmt: skip
def test_an_order_that_went_nowhere_says_what_of_routes_and_connections_is_so_and_the_remedy(
    gateway: Gateway, status: str, routes: list[dict[str, str]], wanted: str, said: str
) -> None:
    order = {"number": "SO-1", "status": status, "total": "1.00", "currency": "CNY"}
    gateway.on(f"GET /orders/{ORDER}/deliveries", {"order": order, "deliveries": {"items": []}, "missing": []})
    gateway.on("GET /routes", {"items": routes, "next": None})
    gateway.on("GET /connections", {"items": [{**CONNECTION, "name": "the ERP", "desired_state": wanted}],
                                    "next": None})
    shown = gateway.hub("why", ORDER)
    assert (shown.exit_code, said in shown.output, "→ " in shown.output) == (3, True, True)
    assert ("no active route" in shown.output) == ("no active route" in said)


def test_an_order_that_went_nowhere_says_what_is_sure_to_whoever_may_not_see_routes(gateway: Gateway) -> None:
    order = {"number": "SO-1", "status": "confirmed", "total": "1.00", "currency": "CNY"}
    gateway.on(f"GET /orders/{ORDER}/deliveries", {"order": order, "deliveries": {"items": []}, "missing": []})
    gateway.refuse("GET /routes", 403, {"code": "forbidden", "detail": "No."})
    shown = gateway.hub("why", ORDER)
    assert (shown.exit_code, "Whoever may see routes and connections is told" in shown.output) == (3, True)


def test_open_conflicts_are_listed_with_their_reason_and_end_with_three(gateway: Gateway) -> None:
    gateway.on("GET /conflicts", {"next": None, "items": [{
        "id": "019ad", "code": "shipped_after_cancelling", "entity": "order", "local_id": "7", "external_id": "11",
        "fields": ["shipments"], "reason": "The sale has been shipped", "resolution": None}]})  # fmt: skip
    shown = gateway.hub("conflicts", "list")
    assert shown.exit_code == 3
    assert shown.output.splitlines() == [
        "shipped_after_cancelling order 7 shipments 019ad", "    The sale has been shipped"]
    assert "state=open" in gateway.server.requests[-1].path


def test_a_conflict_is_resolved_with_a_note(gateway: Gateway) -> None:
    gateway.on("POST /conflicts/019ad/resolve", {"code": "edited", "state": "resolved", "resolution": "keep_local"})
    assert gateway.hub("conflicts", "resolve", "019ad", "keep_local", "--note", "ours is right").exit_code == 0
    assert json.loads(gateway.server.requests[-1].body) == {"resolution": "keep_local", "note": "ours is right"}


def by_file(home: Path) -> tuple[str, str | None]:
    (home / "body.json").write_text('{"secrets": {"key": "s3cret"}}')
    return f"@{home / 'body.json'}", None


def typed(_home: Path) -> tuple[str, str | None]:
    return "@-", '{"secrets": {"key": "s3cret"}}'


@pytest.mark.parametrize("given", [by_file, typed])
def test_anything_can_be_asked_and_a_secret_comes_from_a_file_or_standard_input(
    gateway: Gateway, tmp_path: Path, given: Callable[[Path], tuple[str, str | None]]
) -> None:
    gateway.on(f"PUT /connections/{ERP}/credential", {"version": 2})
    body, on_input = given(tmp_path)
    said = gateway.hub("api", "put", f"/connections/{ERP}/credential", "--body", body, given=on_input)
    assert (said.exit_code, json.loads(said.output)) == (0, {"version": 2})
    assert json.loads(gateway.server.requests[-1].body) == {"secrets": {"key": "s3cret"}}


def test_a_name_that_is_asked_twice_is_sent_twice(gateway: Gateway) -> None:
    gateway.on("GET /deliveries", {"items": [], "next": None})
    gateway.hub("api", "GET", "/deliveries", "--query", "state=dead", "--query", "state=blocked")
    assert gateway.server.requests[-1].path.endswith("?state=dead&state=blocked")


def test_what_anything_is_refused_for_is_told_as_json_on_request(gateway: Gateway) -> None:
    said = gateway.hub("api", "BREW", "/tea", "--json")
    assert (said.exit_code, json.loads(said.output)["problem"]) == (1, "'BREW' is no method")


def test_a_change_names_the_version_that_was_read(gateway: Gateway) -> None:
    gateway.on(f"PATCH /connections/{ERP}", CONNECTION)
    gateway.hub("api", "PATCH", f"/api/v1/connections/{ERP}", "--body", '{"rate_per_s": 5}', "--version", "3")
    assert gateway.server.requests[-1].headers["if-match"] == '"3"'


@pytest.mark.parametrize(("verb", "problem"), [
    (("api", "BREW", "/tea"), "'BREW' is no method"),
    (("api", "GET", "/deliveries", "--query", "dead"), "'dead' is no NAME=VALUE"),
    (("api", "POST", "/routes", "--body", "{"), "--body is no JSON"),
    (("api", "POST", "/routes", "--body", "@/nowhere/at/all"), "/nowhere/at/all cannot be read"),
])  # fmt: skip
def test_what_cannot_be_asked_is_told_before_anything_leaves(
    gateway: Gateway, verb: tuple[str, ...], problem: str
) -> None:
    said = gateway.hub(*verb)
    assert (said.exit_code, problem in said.output) == (1, True)
    assert gateway.server.requests == []
