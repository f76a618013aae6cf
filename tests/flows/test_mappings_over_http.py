"""A mapping from the outside: refused with its place, saved, previewed, put in force; and code tables beside it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.flows.people import Client, administrator
from tests.flows.test_every_post_repeats import CONFIG
from tests.service.gateway.running import Hub
from tests.support.processes import eventually

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


@pytest.mark.parametrize(("text", "place"), [
    ("fields:\n  name: [name\n", ("syntax", 3, 1, "")),
    ("fields:\n  name: name\n  phone: version\n", ("type", 3, 10, "/fields/phone")),
], ids=["does not parse", "yields a wrong type"])
def test_what_cannot_be_read_or_sent_is_refused_at_its_place(
    admin: Client, route: Any, text: str, place: tuple[str, int, int, str]
) -> None:
    [error] = asked(admin, "POST", f"/routes/{route['id']}/mappings", {"text": text}, 422)["errors"]
    assert (error["code"], error["line"], error["column"], error["at"]) == place


def test_a_preview_shows_a_real_record_with_its_phone_under_a_mask(admin: Client, route: Any) -> None:
    customer = asked(admin, "POST", "/customers", {"name": "Evergreen", "phone": "+8613800138000"}, 201)
    path, text = f"/routes/{route['id']}/mappings", "fields:\n  name: name\n  phone: {from: phone, default: ''}\n"
    number = asked(admin, "POST", path, {"text": text}, 201)["number"]
    seen: list[Any] = []

    def known() -> bool:
        """Tell whether integrations has heard of the customer."""
        seen.append(admin.ask("GET", f"{path}/{number}/preview?ids={customer['id']}"))
        return bool(seen[-1].status_code == 200)

    eventually(known)
    [record] = seen[-1].json()["records"]
    assert (record["local_id"], record["bound"], record["problem"]) == (customer["id"], False, None)
    assert record["body"] == {"name": "Evergreen", "phone": "+86138****8000", "consent": {}}


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
    versions = asked(admin, "GET", f"{path}/mappings")["items"]
    assert [one["number"] for one in versions if one["in_force"]] == [number]
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
