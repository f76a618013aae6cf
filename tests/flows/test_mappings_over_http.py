"""A mapping from the outside: refused with its place, saved, previewed, put in force; and code tables beside it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.flows.people import Client, administrator
from tests.flows.test_every_post_repeats import CONFIG
from tests.service.gateway.running import Hub

TEXT = "fields:\n  name: name\n  phone: {from: \"code('phones', level)\", default: none}\n"


@pytest.fixture(scope="module")
def admin(all_rooms: Hub) -> Client:
    return administrator(all_rooms)


def asked(admin: Client, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = admin.ask(method, path, body, Idempotency_Key=str(uuid4()))
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def route(admin: Client) -> dict[str, Any]:
    new = {"name": f"ERP {uuid4()}", "adapter": "tryton", "config": {**CONFIG, "taxes": {"VAT13": 4}}}
    connection = asked(admin, "POST", "/connections", new, 201)
    made: dict[str, Any] = asked(admin, "POST", "/routes", {
        "connection_id": connection["id"], "entity": "customer", "direction": "push"}, 201)
    return made


def test_a_mapping_is_refused_with_line_and_column_in_the_clients_language(admin: Client, route: Any) -> None:
    body = {"text": "fields:\n  name: nam\n  colour: name\n"}
    refused = admin.ask("POST", f"/routes/{route['id']}/mappings", body, Accept_Language="zh-CN")
    assert refused.status_code == 422
    first, second = refused.json()["errors"]
    assert (first["line"], first["column"], first["at"]) == (2, 9, "/fields/name")
    assert first["code"] == "unknown_source"
    assert first["message"].startswith("'nam' 的第 1 个字符：此处没有字段 'nam'；可用的有：address, ")
    assert (second["code"], second["line"], second["column"]) == ("unknown_target", 3, 11)


def test_a_mapping_is_saved_looked_at_and_put_in_force_in_three_steps(admin: Client, route: Any) -> None:
    path = f"/routes/{route['id']}"
    saved = asked(admin, "POST", f"{path}/mappings", {"text": TEXT}, 201)
    assert (saved["in_force"], saved["text"]) == (False, TEXT)
    number = saved["number"]
    assert asked(admin, "GET", f"{path}/mappings/{number}")["id"] == saved["id"]
    shown = asked(admin, "GET", f"{path}/mappings/{number}/preview?limit=3")
    assert (shown["number"], shown["compared_with"]) == (number, None)

    assert asked(admin, "PUT", f"{path}/mapping", {"number": number})["number"] == number
    assert asked(admin, "GET", path)["mapping_version"] == number
    assert [one["in_force"] for one in asked(admin, "GET", f"{path}/mappings")["items"]] == [True]
    assert asked(admin, "PUT", f"{path}/mapping", {"number": None})["number"] is None
    asked(admin, "PUT", f"{path}/mapping", {"number": 99}, 404)


def test_code_tables_are_put_and_told_wherever_they_are_kept(admin: Client, route: Any) -> None:
    path = f"/connections/{route['connection_id']}/code-tables"
    assert asked(admin, "PUT", f"{path}/phones", {"codes": {"A": "1", "B": 2}})["setting"] is False
    told = {table["name"]: (table["codes"], table["setting"]) for table in asked(admin, "GET", path)["items"]}
    assert told == {"phones": ({"A": "1", "B": 2}, False), "taxes": ({"VAT13": 4}, True),
                    "currencies": (CONFIG["currencies"], True)}
    assert asked(admin, "GET", f"{path}/taxes")["codes"] == {"VAT13": 4}
    asked(admin, "PUT", f"{path}/taxes", {"codes": {"VAT13": 5}}, 409)
    for code in (True, "", "a\0", 1.5, None, ["A"]):
        asked(admin, "PUT", f"{path}/phones", {"codes": {"A": code}}, 422)
    asked(admin, "GET", f"{path}/colours", None, 404)
