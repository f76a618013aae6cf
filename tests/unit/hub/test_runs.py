"""What `hub runs` says of a run and asks of the gateway."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console
from typer.testing import CliRunner

from contracts.runs import STATES
from hub import runs
from hub.cli import app
from hub.demo.door import Door
from tests.support.scripted_gateway import Gateway
from tests.support.scripted_http import ScriptedServer, answer

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def run(state: str = "running", *, seen: int = 0, **told: Any) -> dict[str, Any]:
    return {"id": "019ab0c2", "connection_id": "019aa001", "kind": "match", "entity": "customer", "state": state,
            "phase": None, "counts": {"seen": seen}, "total": 9, "percent": None, "seconds_left": None,
            "to_confirm": 797, "error": None, "created_at": "2026-11-22T08:00:00.000000Z", **told}  # fmt: skip


class Clock:
    """Passes as it is slept."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Looks:
    """A gateway that tells of a run what comes next."""

    def __init__(self, told: Iterable[Mapping[str, Any]]) -> None:
        self.told = iter(told)

    def get(self, path: str) -> Mapping[str, Any]:
        assert path == "/api/v1/runs/019ab0c2"
        return next(self.told)


def watched(monkeypatch: pytest.MonkeyPatch, told: Iterable[Mapping[str, Any]]) -> int:
    monkeypatch.setattr(runs, "time", Clock())
    return runs._watched(cast(Door, Looks(told)), run(), as_json=False)


def test_a_run_that_has_not_moved_for_a_minute_says_so_once_and_where_to_look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watched(monkeypatch, [run()] * 200 + [run("completed")]) == 0
    told = capsys.readouterr().err
    assert told.count("hub connections show 019aa001") == 2
    assert [bool(CHINESE.search(line)) for line in told.splitlines() if "→" in line] == [False, True]


def test_a_run_that_moves_or_has_stood_for_less_than_a_minute_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slowly = [run(seen=n) for n in range(5) for _ in range(59)]
    assert watched(monkeypatch, [*slowly, run("completed")]) == 0
    assert "hub connections show" not in capsys.readouterr().err


def test_what_keeps_a_run_waiting_is_said_once_as_soon_as_it_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = run() | {"error": "waits until it is read; the last poll failed: transient: 503"}
    assert watched(monkeypatch, [run(), *[waits] * 5, run("completed")]) == 0
    assert capsys.readouterr().err.count("the last poll failed: transient: 503") == 1


def test_a_run_that_stands_again_says_so_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watched(monkeypatch, [*[run()] * 70, *[run(seen=1)] * 70, run("completed")])
    assert capsys.readouterr().err.count("hub connections show 019aa001") == 4


HALF_WAY = run(seen=250, phase="judging", total=1000, percent=25.9, seconds_left=30)
LISTING = run(phase="theirs", total=None, counts={"theirs": 1200})
LINKING = run(phase="linking", counts={"linked": 4, "seen": 9})


@pytest.mark.parametrize(("stands", "line"), [
    (HALF_WAY, "judging 25 %, 250/1000, ~30 s"), (LISTING, "theirs 1200 theirs"),
    (LINKING, "linking 4 linked, 9 seen")])
def test_the_line_of_a_terminal_tells_how_far_a_run_is_or_what_it_has_looked_at(
    monkeypatch: pytest.MonkeyPatch, stands: dict[str, Any], line: str
) -> None:
    drawn = io.StringIO()
    monkeypatch.setattr(runs, "err", Console(file=drawn, force_terminal=True, width=120, highlight=False))
    assert watched(monkeypatch, [stands, run("completed")]) == 0
    assert f" {line}" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.getvalue())


def test_where_there_is_no_terminal_each_state_and_phase_has_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watched(monkeypatch, [LISTING, LISTING, HALF_WAY, LINKING, run("completed", seen=9, percent=100.0)])
    assert capsys.readouterr().err.splitlines() == [
        "running theirs 1200 theirs", "running judging 25 %, 250/1000, ~30 s", "running linking 4 linked, 9 seen",
        "completed 100 %, 9/9"]


def test_the_list_of_runs_shows_a_percentage_or_the_phase(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        gateway = Gateway(server, tmp_path)
        gateway.on("GET /runs", {"items": [HALF_WAY, LINKING], "next": None})
        _head, half_way, linking = gateway.hub("runs", "list").output.splitlines()
    assert re.split(r" {2,}", half_way)[4] == "25 %"
    assert re.split(r" {2,}", linking)[4] == "linking"


@pytest.mark.parametrize("state", STATES)
def test_what_to_do_about_a_run_is_told_in_english_and_chinese(
    state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs._sum_up(run(state, seen=3))
    first, english, chinese = capsys.readouterr().out.splitlines()
    assert first == f"match customer  {state}  3 seen"
    assert "019ab0c2" in english
    assert "019ab0c2" in chinese
    assert not CHINESE.search(english)
    assert CHINESE.search(chinese)
    if state == "awaiting_approval":
        assert "hub runs approve 019ab0c2 --count 797" in english
        assert "hub runs approve 019ab0c2 --count 797" in chinese


@pytest.mark.parametrize(("options", "version"), [([], "1"), (["--version", "3"], "3")])
def test_a_decision_is_one_request_for_the_version_that_was_looked_at(
    tmp_path: Path, options: list[str], version: str
) -> None:
    decided = json.dumps({"kind": "doubtful", "decision": "link"}).encode()
    with ScriptedServer(lambda seen: answer(body=decided)) as gateway:
        environ = {"HUB_HOME": str(tmp_path), "GATEWAY_LISTEN": gateway.url.removeprefix("http://"),
                   "HUB_API_KEY": "a-key"}
        said = CliRunner().invoke(app, ["runs", "decide", "RUN", "FINDING", "link", *options], env=environ)
    assert (said.exit_code, said.output) == (0, "doubtful  link\n")
    [asked] = gateway.requests
    assert (asked.method, asked.path) == ("PATCH", "/api/v1/runs/RUN/findings/FINDING")
    assert asked.headers["if-match"] == f'"{version}"'


def told_of(home: Path, run: Mapping[str, Any], *found: Mapping[str, Any]) -> list[str]:
    """What `hub runs findings` prints of these, by the line."""
    with ScriptedServer() as server:
        gateway = Gateway(server, home)
        gateway.on("GET /runs/RUN/findings", {"items": found, "next": None})
        gateway.on("GET /runs/RUN", run)
        return gateway.hub("runs", "findings", "RUN").output.splitlines()


@pytest.mark.parametrize(("counts", "said"), [
    ({"compared": 9}, "reconcile customer  completed  9 compared, 0 differ"),
    ({"compared": 9, "mismatch": 2}, "reconcile customer  completed  9 compared, 2 mismatch")])
def test_a_reconciliation_that_found_nothing_says_so(tmp_path: Path, counts: dict[str, int], said: str) -> None:
    assert told_of(tmp_path, run("completed") | {"kind": "reconcile", "counts": counts}) == [said]


def test_a_finding_is_told_by_what_people_know_its_record_by(tmp_path: Path) -> None:
    found = {"id": "019ac", "version": 1, "kind": "new", "local_id": "7", "external_id": None, "decision": "create",
             "fields": [], "candidates": [], "detail": {"ours": {"tax_number": ["91"], "name": ["示例"]}, "theirs": []}}
    assert told_of(tmp_path, run("completed"), found)[1:] == ["new 示例 7 → create 019ac version 1"]


def test_findings_show_the_version_to_decide_on_and_both_sides(tmp_path: Path) -> None:
    found = {"id": "019ac", "version": 2, "kind": "doubtful", "local_id": "7", "external_id": None, "decision": None,
             "fields": ["phone"], "detail": {"ours": {"phone": "1"}, "theirs": {}}, "candidates": ["4711"]}
    said = told_of(tmp_path, run("completed"), found)
    assert said == [
        "match customer  completed  0 seen",
        "doubtful 7 019ac version 2",
        "    phone: 1 here 我方, nothing 无 there 对方",
        "    may be there 候选: 4711",
    ]


def test_a_doubtful_match_shows_the_field_of_each_candidate_there(tmp_path: Path) -> None:
    found = {"id": "019ac", "version": 1, "kind": "doubtful", "local_id": "7", "external_id": None, "decision": None,
             "fields": ["tax_number"], "candidates": ["11", "12"],
             "detail": {"ours": {"tax_number": "91"}, "theirs": [{"id": "11", "tax_number": "92"}, {"id": "12"}]}}
    said = told_of(tmp_path, run("completed"), found)
    assert "    tax_number: 91 here 我方, 92 there 对方, nothing 无 there 对方" in said


def test_a_replay_shows_what_was_sent_against_what_would_be_sent_now_and_why_some_stay_away(tmp_path: Path) -> None:
    common: dict[str, Any] = {"version": 1, "external_id": None, "decision": None, "candidates": []}
    outdated = {**common, "id": "019ac", "kind": "outdated", "local_id": "7", "fields": ["name"],
                "detail": {"as_sent": {"name": "v1"}, "current": {"name": "v2"}}}
    refused = {**common, "id": "019ad", "kind": "refused", "local_id": "8", "fields": [],
               "detail": {"reason": {"en": "What the delivery sent is not kept", "zh-CN": "没有保存"}}}
    said = told_of(tmp_path, run("completed"), outdated, refused)
    assert said == [
        "match customer  completed  0 seen",
        "outdated v1 7 019ac version 1",
        "    name: v1 as it was sent 原发送内容, v2 as it is now 当前内容",
        "refused 8 019ad version 1",
        "    What the delivery sent is not kept",
        "    没有保存",
    ]


def test_a_dead_delivery_is_sent_again_as_it_was_if_somebody_says_so(tmp_path: Path) -> None:
    with ScriptedServer(lambda seen: answer(body=b'{"id": "019ae"}')) as gateway:
        environ = {"HUB_HOME": str(tmp_path), "GATEWAY_LISTEN": gateway.url.removeprefix("http://"),
                   "HUB_API_KEY": "a-key"}
        said = CliRunner().invoke(app, ["retry", "019ac", "--as-sent"], env=environ)
    assert said.output.splitlines() == ["Delivery 019ae goes in its place.", "将由投递 019ae 代替发送。"]
    [asked] = gateway.requests
    assert (asked.path, json.loads(asked.body)) == ("/api/v1/deliveries/019ac/retry", {"payload": "as_sent"})
