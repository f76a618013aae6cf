"""What `hub adapter list` and `show` ask of the gateway, and say of its answer."""

from __future__ import annotations

import json

import pytest

from tests.support.scripted_gateway import Gateway

CARDS = {"name": "cards", "version": "1.2.0", "entities": ["contact", "task"], "pulled": [], "capabilities": [],
         "guarantee": "at_least_once", "config_schema": {"required": ["url"]}, "secret_fields": ["token"]}


@pytest.fixture(autouse=True)
def installed(gateway: Gateway) -> None:
    gateway.on("GET /adapters", {"items": [CARDS]})


def test_every_adapter_is_a_line(gateway: Gateway) -> None:
    _head, line = gateway.hub("adapter", "list").output.splitlines()
    assert line.split() == ["cards", "1.2.0", "contact,", "task", "-", "at", "least", "once"]
    assert json.loads(gateway.hub("adapter", "list", "--json").output) == {"ok": True, "adapters": [CARDS]}


def test_one_is_shown_with_what_its_connections_are_told(gateway: Gateway) -> None:
    assert json.loads(gateway.hub("adapter", "show", "cards").output) == CARDS


def test_one_that_is_not_installed_is_named_with_where_to_look(gateway: Gateway) -> None:
    said = gateway.hub("adapter", "show", "crads")
    assert (said.exit_code, "there is no adapter 'crads'" in said.output, "hub adapter list" in said.output) == (
        1, True, True)
