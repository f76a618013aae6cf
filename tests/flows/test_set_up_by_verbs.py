"""A system is joined by the verbs of `hub` alone, from its settings to a mapping in force."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hub.cli import app
from tests.flows.people import administrator
from tests.service.gateway.running import Hub
from tests.support import fake_target
from tests.support.fake_target import GOOD_KEY, FakeTarget

MAPPING = "fields:\n  name: name\n  note: {from: \"code('levels', level)\", default: none}\n"
CALENDARS = {"base_url": "http://127.0.0.1:9", "home": "/team/"}


class Terminal:
    """Types verbs as the administrator of a hub."""

    def __init__(self, hub: Hub) -> None:
        key = administrator(hub).headers["Authorization"].removeprefix("Bearer ")
        self._environ = {"HUB_HOME": str(hub.home), "GATEWAY_LISTEN": hub.url.removeprefix("http://"),
                         "HUB_API_KEY": key}  # fmt: skip

    def type(self, *verb: str, given: str = "") -> Result:
        return CliRunner().invoke(app, verb, env=self._environ, input=given)

    def done(self, *verb: str, given: str = "") -> Any:
        said = self.type(*verb, "--json", given=given)
        assert said.exit_code == 0, said.output
        return json.loads(said.stdout)


@pytest.fixture
def target() -> Iterator[FakeTarget]:
    yield from fake_target.running()


def test_a_system_is_joined_without_a_request_by_hand(all_rooms: Hub, target: FakeTarget) -> None:
    hub, name = Terminal(all_rooms), f"verbs {uuid.uuid4().hex[:8]}"
    create = ("connections", "create", name, "--adapter", "fake", "--config", "-")
    refused = hub.type(*create, given="{}")
    assert refused.exit_code == 1
    assert refused.output.splitlines()[-1] == "  /config: 'base_url' is a required property"
    assert hub.done(*create, "--max-in-flight", "3", given=json.dumps(target.config))["max_in_flight"] == 3

    kept = hub.type("connections", "credential", name, given=json.dumps({"key": GOOD_KEY}))
    assert (kept.exit_code, GOOD_KEY in kept.output) == (0, False), kept.output
    assert hub.done("connections", "change", name, "--burst", "2")["burst"] == 2
    assert hub.done("connections", "check", name)["ok"]

    assert hub.done("routes", "create", name, "customer", "push")["state"] == "draft"
    assert hub.done("routes", "change", name, "customer", "--filter", "name != ''")["filter"] == "name != ''"
    assert hub.done("codes", "put", name, "levels", "-", given='{"A": "gold"}')["codes"] == {"A": "gold"}
    assert json.loads(hub.type("codes", "show", name, "levels").output) == {"A": "gold"}

    wrong = hub.type("mappings", "save", name, "customer", "-", given="fields:\n  name: nam\n")
    assert (wrong.exit_code, "line 2, column 9" in wrong.output) == (1, True), wrong.output
    assert hub.done("mappings", "save", name, "customer", "-", given=MAPPING)["number"] == 1
    assert hub.done("mappings", "preview", name, "customer", "1", "--limit", "1")["compared_with"] is None
    assert hub.done("mappings", "use", name, "customer", "1")["number"] == 1
    assert hub.type("mappings", "show", name, "customer").output == MAPPING
    assert hub.done("routes", "activate", name, "customer", "--without-matching", "it is new")["state"] == "active"
    hub.done("routes", "deactivate", name, "customer")
    hub.done("connections", "stop", name, "--reason", "the test is over")


def test_whose_account_is_whose_is_told_by_user_name(all_rooms: Hub) -> None:
    hub, name, user = Terminal(all_rooms), f"verbs {uuid.uuid4().hex[:8]}", all_rooms.username
    hub.done("connections", "create", name, "--adapter", "caldav", "--config", "-", given=json.dumps(CALENDARS))
    assert hub.done("accounts", "put", name, user, "wang")["account"] == "wang"
    assert hub.type("accounts", "show", name, user).output == "wang\n"
    hub.done("accounts", "delete", name, user)
    assert hub.type("accounts", "show", name, user).exit_code == 1
