"""What the verbs that set a connection up ask of the gateway, and where what they send is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from hub import connections
from tests.support.scripted_gateway import CONNECTION, ERP, Gateway

SECRETS = '{"api_key": "s3cret"}'
ROUTE = {"id": "019ab", "version": 4, "entity": "customer", "direction": "both", "state": "draft"}


def sent(gateway: Gateway) -> Any:
    return json.loads(gateway.server.requests[-1].body)


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "erp.json"
    file.write_text('{"base_url": "http://erp"}', encoding="utf-8")
    return str(file)


def test_a_connection_is_set_up_from_a_file_and_says_what_comes_next(gateway: Gateway, config: str) -> None:
    gateway.on("POST /connections", {**CONNECTION, "name": "the ERP"})
    made = gateway.hub("connections", "create", "the ERP", "--adapter", "tryton", "--config", config, "--burst", "2")
    assert made.exit_code == 0
    assert made.output.splitlines()[-2:] == [
        "  → Put its credential, then have it checked: hub connections credential 'the ERP'; "
        "hub connections check 'the ERP'",
        "  → 请保存凭据，然后检查：hub connections credential 'the ERP'；hub connections check 'the ERP'"]
    assert sent(gateway) == {"name": "the ERP", "adapter": "tryton", "config": {"base_url": "http://erp"}, "burst": 2}


def test_settings_that_are_refused_are_named_with_their_place(gateway: Gateway) -> None:
    gateway.refuse("POST /connections", 422, {"code": "invalid", "detail": "It is wrong.", "errors": [
        {"pointer": "/config/base_url", "message": "Missing."}, {"pointer": "/config/colour", "message": "Unknown."}]})
    said = gateway.hub("connections", "create", "erp", "--adapter", "tryton", "--config", "-", given="{}")
    assert said.exit_code == 1
    assert said.output.splitlines()[-2:] == ["  /config/base_url: Missing.", "  /config/colour: Unknown."]


@pytest.mark.parametrize(("options", "version"), [((), '"7"'), (("--version", "6"), '"6"')])
def test_a_change_goes_to_the_version_that_stands_or_that_is_named(
    gateway: Gateway, config: str, options: tuple[str, ...], version: str
) -> None:
    gateway.on(f"GET /connections/{ERP}", {**CONNECTION, "version": 7})
    gateway.on(f"PATCH /connections/{ERP}", CONNECTION)
    changed = gateway.hub("connections", "change", "erp", "--config", config, "--name", "ERP", *options)
    assert changed.exit_code == 0, changed.output
    assert sent(gateway) == {"name": "ERP", "config": {"base_url": "http://erp"}}
    assert gateway.server.requests[-1].headers["if-match"] == version


@pytest.mark.parametrize("given", ["file", "input", "implied"])
def test_a_credential_comes_from_a_file_or_standard_input_and_is_never_shown(
    gateway: Gateway, tmp_path: Path, given: str
) -> None:
    gateway.on(f"PUT /connections/{ERP}/credential", {"connection_id": ERP, "version": 2})
    (tmp_path / "secrets.json").write_text(SECRETS, encoding="utf-8")
    file = {"file": [str(tmp_path / "secrets.json")], "input": ["-"], "implied": []}[given]
    kept = gateway.hub("connections", "credential", "erp", *file, given=SECRETS)
    assert (kept.exit_code, kept.output.splitlines()) == (0, [
        "Version 2 of the credential is kept. Have it checked: hub connections check erp",
        "凭据第 2 版已保存。请检查：hub connections check erp"])
    assert sent(gateway) == {"secrets": {"api_key": "s3cret"}}


def test_on_a_terminal_each_secret_of_the_adapter_is_asked_for_unseen(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def typed(name: str, *, hide_input: bool, **_options: Any) -> str:
        assert hide_input
        return {"password": "s3cret"}.get(name, "")

    monkeypatch.setattr(connections, "_on_terminal", lambda: True)
    monkeypatch.setattr(typer, "prompt", typed)
    gateway.on(f"GET /connections/{ERP}", CONNECTION)
    gateway.on("GET /adapters", {"items": [{"name": "radicale", "secret_fields": ["token"]},
                                           {"name": "tryton", "secret_fields": ["user", "password"]}]})
    gateway.on(f"PUT /connections/{ERP}/credential", {"connection_id": ERP, "version": 1})
    kept = gateway.hub("connections", "credential", "erp", "--json")
    assert (kept.exit_code, json.loads(kept.output)["version"]) == (0, 1)
    assert sent(gateway) == {"secrets": {"password": "s3cret"}}


def test_a_file_of_secrets_that_cannot_be_used_is_told_without_what_it_holds(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    for held, problem in ((b'{"api_key": s3cret}', "is no JSON"), (b"s3cret\xff", "cannot be read")):
        file.write_bytes(held)
        said = gateway.hub("connections", "credential", "erp", str(file))
        assert (said.exit_code, f"{file} {problem}" in said.output, "s3cret" in said.output) == (1, True, False)
    assert gateway.server.requests == []


def test_a_route_is_drafted_with_its_filter_and_the_owners_of_its_fields(gateway: Gateway) -> None:
    gateway.on("POST /routes", ROUTE)
    made = gateway.hub("routes", "create", "erp", "customer", "both", "--filter", "lifecycle == 'active'",
                       "--owner", "email=latest", "--owner", "name=local")  # fmt: skip
    assert (made.exit_code, made.output) == (0, "customer  both  draft\n")
    assert sent(gateway) == {"connection_id": ERP, "entity": "customer", "direction": "both",
                             "filter": "lifecycle == 'active'", "owners": {"email": "latest", "name": "local"}}


def test_a_change_of_a_route_leaves_out_what_is_not_given_and_can_take_its_filter_away(gateway: Gateway) -> None:
    gateway.on("GET /routes", {"items": [ROUTE], "next": None})
    gateway.on("GET /routes/019ab", ROUTE)
    gateway.on("PATCH /routes/019ab", ROUTE)
    assert gateway.hub("routes", "change", "erp", "customer", "--filter", "").exit_code == 0
    assert sent(gateway) == {"filter": None}
    assert gateway.server.requests[-1].headers["if-match"] == '"4"'


@pytest.mark.parametrize("verb", [("connections", "change", "erp"), ("routes", "change", "erp", "customer")])
def test_a_change_of_nothing_is_not_asked_for(gateway: Gateway, verb: tuple[str, ...]) -> None:
    gateway.on("GET /routes", {"items": [ROUTE], "next": None})
    said = gateway.hub(*verb, "--json")
    assert (said.exit_code, json.loads(said.output)["problem"]) == (1, "there is nothing to change")
    assert "PATCH" not in {seen.method for seen in gateway.server.requests}
