"""What `hub mappings`, `codes` and `accounts` ask of the gateway, and say of its answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_gateway import ERP, Gateway

PATH = "/routes/019ab"
TEXT = "fields:\n  name: name\n  note: {value: '[urgent]'}\n"
USER = "019aa001-0000-7000-8000-00000000000b"


@pytest.fixture(autouse=True)
def route(gateway: Gateway) -> None:
    gateway.on("GET /routes", {"items": [{"id": "019ab"}], "next": None})


def sent(gateway: Gateway) -> Any:
    return json.loads(gateway.server.requests[-1].body)


def test_a_mapping_is_saved_as_it_stands_in_its_file_and_says_what_comes_next(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "customers.yaml"
    file.write_text(TEXT, encoding="utf-8")
    gateway.on(f"POST {PATH}/mappings", {"number": 3})
    saved = gateway.hub("mappings", "save", "erp", "customer", str(file))
    assert saved.output.splitlines() == [
        "Saved as version 3. Look at what it would send: hub mappings preview erp customer 3; put it in force: "
        "hub mappings use erp customer 3",
        "已保存为第 3 版。请查看将发送的内容：hub mappings preview erp customer 3；"
        "启用：hub mappings use erp customer 3"]
    assert sent(gateway) == {"text": TEXT}


def test_a_mapping_that_is_refused_names_each_line(gateway: Gateway) -> None:
    gateway.refuse(f"POST {PATH}/mappings", 422, {"code": "invalid", "detail": "It cannot work.", "errors": [
        {"pointer": "/text", "line": 2, "column": 9, "message": "There is no field 'nam'."}]})
    said = gateway.hub("mappings", "save", "erp", "customer", "-", given="fields:\n  name: nam\n")
    assert (said.exit_code, said.output.splitlines()[-1]) == (1, "  /text, line 2, column 9: There is no field 'nam'.")


@pytest.mark.parametrize(("named", "in_force", "number"), [(("1",), 2, 1), ((), 2, 2), ((), None, 4)])
def test_a_mapping_is_printed_as_it_was_saved_by_default_the_one_in_force_else_the_newest(
    gateway: Gateway, named: tuple[str, ...], in_force: int | None, number: int
) -> None:
    gateway.on(f"GET {PATH}", {"mapping_version": in_force})
    gateway.on(f"GET {PATH}/mappings", {"items": [{"number": 4}], "next": None})
    gateway.on(f"GET {PATH}/mappings/{number}", {"text": TEXT})
    assert gateway.hub("mappings", "show", "erp", "customer", *named).output == TEXT


def test_a_route_without_a_mapping_says_so(gateway: Gateway) -> None:
    gateway.on(f"GET {PATH}", {"mapping_version": None})
    gateway.on(f"GET {PATH}/mappings", {"items": [], "next": None})
    said = gateway.hub("mappings", "show", "erp", "customer")
    assert (said.exit_code, "the route has no mapping" in said.output) == (1, True)


def test_the_versions_of_a_mapping_are_listed_with_the_one_in_force(gateway: Gateway) -> None:
    one = {"number": 1, "in_force": True, "created_at": "2026-11-22T08:00:00.000000Z", "created_by": "u1"}
    gateway.on(f"GET {PATH}/mappings", {"items": [{**one, "number": 2, "in_force": False}, one], "next": None})
    shown = gateway.hub("mappings", "list", "erp", "customer").output.splitlines()
    assert [line.split() for line in shown[1:]] == [
        ["2", "2026-11-22T08:00:00", "u1"], ["1", "yes", "2026-11-22T08:00:00", "u1"]]


def test_a_preview_marks_what_changes_and_ends_with_three_when_a_record_could_not_be_sent(gateway: Gateway) -> None:
    good = {"local_id": "7", "version": 2, "bound": True, "body": {"name": "示例", "note": "[x]"},
            "changed": ["note", "phone"], "problem": None}  # fmt: skip
    bad = {"local_id": "8", "version": 1, "bound": False, "body": None, "changed": [],
           "problem": {"field": "email", "message": "It is required."}}  # fmt: skip
    gateway.on(f"GET {PATH}/mappings/3/preview", {"records": [good, bad]})
    shown = gateway.hub("mappings", "preview", "erp", "customer", "3", "--record", "7", "--record", "8")
    assert (shown.exit_code, shown.output.splitlines()) == (3, [
        "7 version 2  stands there 对方已有", '  * note: "[x]"', "  * phone: not sent any more 不再发送",
        '    name: "示例"', "8 version 1  new there 对方没有", "  email: It is required."])
    assert gateway.server.requests[-1].path.endswith("?ids=7&ids=8")


@pytest.mark.parametrize(("given", "number", "said"), [("3", 3, "version 3"), ("none", None, "none")])
def test_a_version_is_put_in_force_or_none_is(gateway: Gateway, given: str, number: int | None, said: str) -> None:
    gateway.on(f"PUT {PATH}/mapping", {"number": number})
    assert gateway.hub("mappings", "use", "erp", "customer", given).output == f"customer  {said}\n"
    assert sent(gateway) == {"number": number}


def test_what_is_no_version_is_told_before_anything_leaves(gateway: Gateway) -> None:
    said = gateway.hub("mappings", "use", "erp", "customer", "newest")
    assert (said.exit_code, "'newest' is no version of a mapping" in said.output) == (1, True)
    assert gateway.server.requests == []


def test_codes_are_shown_as_they_are_put(gateway: Gateway, tmp_path: Path) -> None:
    path, codes = f"/connections/{ERP}/code-tables", {"上海": "Shanghai", "NO": 7}
    table = {"name": "cities", "codes": codes, "setting": False}
    gateway.on(f"GET {path}/cities", table)
    gateway.on(f"PUT {path}/cities", table)
    gateway.on(f"GET {path}", {"items": [table]})
    file = tmp_path / "cities.json"
    file.write_text(gateway.hub("codes", "show", "erp", "cities").output, encoding="utf-8")
    assert gateway.hub("codes", "put", "erp", "cities", str(file)).output == "cities: 2 codes 个代码\n"
    assert sent(gateway) == {"codes": codes}
    assert gateway.hub("codes", "list", "erp").output.splitlines()[1].split() == ["cities", "2", "table"]


def test_a_users_account_is_told_by_user_name_shown_and_forgotten(gateway: Gateway) -> None:
    path = f"/connections/{ERP}/accounts/{USER}"
    gateway.on("GET /users", {"items": [{"id": USER}], "next": None})
    for method in ("PUT", "GET", "DELETE"):
        gateway.on(f"{method} {path}", {"account": "wang"})
    assert gateway.hub("accounts", "put", "erp", "wang.li", "wang").output == "wang\n"
    assert sent(gateway) == {"account": "wang"}
    assert gateway.hub("accounts", "show", "erp", USER).output == "wang\n"
    assert json.loads(gateway.hub("accounts", "delete", "erp", "wang.li", "--json").output) == {
        "ok": True, "deleted": True}


def test_a_user_whom_nobody_knows_is_told(gateway: Gateway) -> None:
    gateway.on("GET /users", {"items": [], "next": None})
    said = gateway.hub("accounts", "show", "erp", "nobody")
    assert (said.exit_code, "there is no user 'nobody'" in said.output) == (1, True)
