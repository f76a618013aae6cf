"""What the verbs that ask the gateway say when it does not answer, refuses, or is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hub import client
from hub.cli import app
from hub.demo import door
from tests.support.scripted_http import Part, ScriptedServer, answer

Ask = Callable[..., Result]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run `hub retry` at a gateway that answers so."""
    monkeypatch.setattr(client, "PATIENCE_S", 0.0)

    def asked(parts: Sequence[Part], *options: str, key: str = "a-key") -> Result:
        with ScriptedServer(lambda seen: parts) as gateway:
            environ = {"HUB_HOME": str(tmp_path), "GATEWAY_LISTEN": gateway.url.removeprefix("http://"),
                       "HUB_API_KEY": key}
            return CliRunner().invoke(app, ["retry", "019ab0c2", *options], env=environ)

    return asked


def test_a_gateway_that_stands_still_is_told_in_a_line(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "TIMEOUT_S", 0.05)
    said = ask([2.0])
    assert (said.exit_code, said.stderr) == (
        1, "hub: the gateway does not answer: hub status shows what is missing\n"
           "     网关没有应答：用 hub status 查看缺少什么\n")


def test_a_gateway_that_stands_still_is_told_in_json(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "TIMEOUT_S", 0.05)
    said = ask([2.0], "--json")
    assert json.loads(said.stdout) == {"ok": False, "problem": "the gateway does not answer",
                                       "remedy": "hub status shows what is missing",
                                       "zh-CN": {"problem": "网关没有应答", "remedy": "用 hub status 查看缺少什么"}}


def test_an_answer_that_breaks_off_is_no_answer(ask: Ask) -> None:
    assert "the gateway does not answer" in ask([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]).stderr


def test_a_page_of_another_program_is_no_gateway(ask: Ask) -> None:
    said = ask(answer(body=b"<html>"), "--json")
    assert json.loads(said.stdout)["remedy"] == "set GATEWAY_LISTEN, or HUB_PORT, to where the gateway listens"


@pytest.mark.parametrize("after", ["Sun, 22 Nov 2026 13:00:00 GMT", "nan", "-1", "soon"])
def test_a_pause_that_is_no_number_of_seconds_hides_no_refusal(ask: Ask, after: str) -> None:
    said = ask(answer(503, b'{"code": "no", "detail": "No."}', [f"Retry-After: {after}"]), "--json")
    assert json.loads(said.stdout)["problem"] == "the hub refused (503 no: No.)"


@pytest.mark.parametrize("key", ["钥匙", "a key", "a-key\n", "a-key\x7f"])
def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_asked(ask: Ask, key: str) -> None:
    said = ask(answer(), "--json", key=key)
    told = json.loads(said.stdout)
    assert (said.exit_code, told["problem"]) == (1, "the API key holds characters that no key has")
    assert key.strip() not in said.output.replace("API key", "")


@pytest.mark.parametrize(("status", "remedy"), [
    (401, "a key that is good"),
    (403, "somebody who may"),
    (404, "look its id up again"),
    (409, "do first what it names"),
    (412, "look at it again"),
    (422, "correct what it names"),
    (429, "wait a little"),
    (500, "hub status shows what is missing"),
    (503, "hub status shows what is missing"),
    (504, "hub status shows what is missing"),
])  # fmt: skip
def test_each_refusal_has_its_next_step(ask: Ask, status: int, remedy: str) -> None:
    said = ask(answer(status, b'{"code": "no", "detail": "No."}'), "--json")
    told = json.loads(said.stdout)
    assert (said.exit_code, told["problem"]) == (1, f"the hub refused ({status} no: No.)")
    assert remedy in told["remedy"]


def test_a_refusal_names_each_field_each_gap_and_each_fact(ask: Ask) -> None:
    document = {
        "code": "conflict", "detail": "NoPriv is not ready",
        "errors": [{"pointer": "/options/limit", "code": "type", "message": "Not a valid integer."},
                   {"pointer": "/text", "message": "There is no `nam`.", "line": 2, "column": 9}],
        "details": {"gaps": [{"field": "check", "message": "It has not been checked [yet]."}], "run": "019ad",
                    "code_check": {"records": 4, "complete": True}},
    }
    refusal = answer(409, json.dumps(document).encode())
    assert ask(refusal).stderr.splitlines()[2:] == [
        "  /options/limit: Not a valid integer.", "  /text, line 2, column 9: There is no `nam`.",
        "  check: It has not been checked [yet].", "  run: 019ad",
        '  code_check: {"records": 4, "complete": true}']
    told = json.loads(ask(refusal, "--json").stdout)
    assert (told["problem"], told["errors"], told["details"]) == (
        "the hub refused (409 conflict: NoPriv is not ready)", document["errors"], document["details"])


def test_a_hub_that_is_down_is_named_by_its_folder(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["status"], env={"HUB_HOME": str(tmp_path)})
    assert (said.exit_code, said.output.splitlines()[0]) == (
        3, f"The hub of {tmp_path} is down: hub up starts it. HUB_HOME names another one's folder.")
