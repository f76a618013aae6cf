"""Runs over whole entities of a connection, through the gateway: start, watch, decide, approve, cancel."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from hub.installation import API, Installation
from hub.terminal import Json, answer, err, out, pairs, plain, print_json, print_table, verb

if TYPE_CHECKING:
    from hub.demo.door import Door

LOOK_EVERY_S = 1.0
STILL_S = 60.0
"""A run that has not moved for so long may be waiting for a person."""
UNDER_WAY = ("pending", "running")
NOT_DONE = 3
"""Exit code of whoever watched a run that did not come to its end."""
FURTHER = {"en": "It goes on in the background; hub runs watch {id} follows it.",
           "zh-CN": "任务在后台进行；用 hub runs watch {id} 查看进度。"}
WHAT_NOW: Mapping[str, Mapping[str, str]] = {
    "pending": FURTHER,
    "running": FURTHER,
    "awaiting_approval": {
        "en": "It asks you: look at hub runs findings {id}, then: hub runs approve {id} --count {to_confirm}",
        "zh-CN": "等待您确认：先看 hub runs findings {id}，然后执行 hub runs approve {id} --count {to_confirm}"},
    "completed": {"en": "It has come to its end; hub runs findings {id} shows what it found.",
                  "zh-CN": "任务已完成；用 hub runs findings {id} 查看检查结果。"},
    "failed": {"en": "It did not come to its end. Mend what is named above, then start it again; what it found: "
                     "hub runs findings {id}",
               "zh-CN": "任务未能完成。请先处理上面写明的原因，再重新开始；已有的检查结果：hub runs findings {id}"},
    "cancelled": {"en": "It was called off; what it had done stays done. What it found: hub runs findings {id}",
                  "zh-CN": "任务已取消，已完成的部分保持不变。已有的检查结果：hub runs findings {id}"},
}
"""What to do about a run, by its state."""
STILL: Mapping[str, str] = {
    "en": "Nothing has moved for a minute. The connection may be paused, or its system away: "
          "hub connections show {connection_id} says which and why, hub status whether every room runs.",
    "zh-CN": "一分钟内没有进展。连接可能已暂停，或对方系统不可用："
             "hub connections show {connection_id} 说明是哪一种及原因，hub status 显示各服务是否都在运行。",
}
SIDES: Mapping[str, str] = {"ours": "here 我方", "theirs": "there 对方"}
AS_SENT: Mapping[str, str] = {"as_sent": "as it was sent 原发送内容", "current": "as it is now 当前内容"}
"""The sides of a finding's `detail`, and what they are called."""
NAMES = ("number", "name", "title", "code", "sku")
"""Fields by which people know a record, the first that it has."""
DIFFERENCES = ("missing_remote", "missing_local", "mismatch", "duplicate_remote", "stale_binding")
"""What a reconciliation counts of records that do not stand as they should."""

app = typer.Typer(no_args_is_help=True, help="Match, backfill, reconcile or rehearse a whole entity of a connection.")

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Its id, as hub runs list shows it.")]
Given = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be repeated; the value is JSON.")]


@app.command("start")
@verb
def start(
    kind: Annotated[str, typer.Argument(help="match, backfill, reconcile, replay or dry_run.")],
    connection: Annotated[str, typer.Argument(help="Its name or id.")],
    entity: Annotated[str, typer.Argument(help="Such as customer.")],
    option: Given = None,
    filter_: Annotated[list[str] | None, typer.Option("--filter", metavar="NAME=VALUE", help="As --option.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit trail.")] = "",
    follow: Annotated[bool, typer.Option("--watch", help="Wait until it has ended, or asks.")] = False,
    as_json: Json = False,
) -> int:
    """Start a run; it goes on in the background, whether somebody watches or not."""
    from hub import client

    with client.asking(Installation.here()) as door:
        body = {"kind": kind, "entity": entity, "reason": reason, "options": _read(option), "filter": _read(filter_)}
        run = door.post(f"{API}/connections/{client.connection_id(door, connection)}/runs", body)
        if follow:
            return _watched(door, run, as_json=as_json)
    if as_json:
        print_json({"ok": True, **run})
    else:
        _sum_up(run)
    return 0


@app.command("list")
@verb
def list_(
    connection: Annotated[str | None, typer.Option(help="Its name or id.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind.")] = None,
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    most: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    as_json: Json = False,
) -> int:
    """Show runs, newest first."""
    from hub import client

    with client.asking(Installation.here()) as door:
        asked = {"connection_id": client.connection_id(door, connection) if connection else None, "kind": kind,
                 "state": state, "limit": most}  # fmt: skip
        items = door.get(f"{API}/runs", **{name: value for name, value in asked.items() if value is not None})["items"]
    if as_json:
        print_json({"ok": True, "runs": items})
        return 0
    table = Table("run", "kind", "entity", "state", "done", "counts", "since (UTC)", box=None, pad_edge=False)
    for run in items:
        table.add_row(run["id"], run["kind"], run["entity"], run["state"], _percent(run) or run["phase"], _counts(run),
                      run["created_at"][:19])  # fmt: skip
    print_table(table)
    return 0


@app.command("watch")
@verb
def watch(run: RunId, as_json: Json = False) -> int:
    """Follow a run until it has ended, or asks a person. Exit code 3 when it failed or was cancelled."""
    from hub import client

    with client.asking(Installation.here()) as door:
        return _watched(door, door.get(f"{API}/runs/{run}"), as_json=as_json)


@app.command("findings")
@verb
def findings(
    run: RunId,
    kind: Annotated[str | None, typer.Option(help="Only of this kind.")] = None,
    state: Annotated[str | None, typer.Option(help="open, decided, done or skipped.")] = None,
    most: Annotated[int, typer.Option(min=1, help="How many, in the order they were found.")] = 100,
    as_json: Json = False,
) -> int:
    """Show what a run has found, with the values of both sides as far as you may see them."""
    from hub import client

    asked = {name: value for name, value in {"kind": kind, "state": state}.items() if value is not None}
    with client.asking(Installation.here()) as door:
        found = list(client.every(door, f"{API}/runs/{run}/findings", asked, most))
        whole = door.get(f"{API}/runs/{run}")
    if as_json:
        print_json({"ok": True, "findings": found})
        return 0
    out.print(_headed(whole), soft_wrap=True)
    for one in found:
        _show_finding(one)
    return 0


@app.command("decide")
@verb
def decide(
    run: RunId,
    finding: Annotated[str, typer.Argument(help="Its id, as hub runs findings shows it.")],
    decision: Annotated[str, typer.Argument(help="Such as link, create or ignore.")],
    external_id: Annotated[str | None, typer.Option(help="With link: which of the candidates.")] = None,
    version: Annotated[int, typer.Option(min=1, help="As hub runs findings shows it; 1 until it is decided.")] = 1,
    as_json: Json = False,
) -> int:
    """Say what is to be done about a finding; it is done once the run is approved."""
    from hub import client

    body = {"decision": decision} | ({"external_id": external_id} if external_id else {})
    with client.asking(Installation.here()) as door:
        decided = door.patch(f"{API}/runs/{run}/findings/{finding}", version, body)
    return answer(decided, f"{decided['kind']}  {decided['decision']}", as_json=as_json)


@app.command("approve")
@verb
def approve(
    run: RunId,
    count: Annotated[int, typer.Option(min=0, help="What hub runs watch said that it would do.")],
    as_json: Json = False,
) -> int:
    """Have a run go on that asks; refused if it would do more, or less, than COUNT by now."""
    return _told(f"{run}/approve", {"count": count}, as_json=as_json)


@app.command("cancel")
@verb
def cancel(run: RunId, as_json: Json = False) -> int:
    """End a run where it is; what it has done stays done."""
    return _told(f"{run}/cancel", None, as_json=as_json)


def _told(path: str, body: dict[str, Any] | None, *, as_json: bool) -> int:
    from hub import client

    with client.asking(Installation.here()) as door:
        run = door.post(f"{API}/runs/{path}", body)
    if as_json:
        print_json({"ok": True, **run})
    else:
        _sum_up(run)
    return 0


def _watched(door: Door, run: dict[str, Any], *, as_json: bool) -> int:
    """Follow a run with a progress line on a terminal, else with a line for each state and phase."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    quiet = as_json or not err.is_terminal
    say_still_at = time.monotonic() + STILL_S
    with Progress(*columns, console=err, transient=True, disable=quiet) as progress:
        line = progress.add_task(f"{run['kind']} {run['entity']}", total=100, told="")
        while run["state"] in UNDER_WAY:
            progress.update(line, completed=run["percent"] or 0, total=100 if run["percent"] is not None else None,
                            told=_progress(run))  # fmt: skip
            before = run
            time.sleep(LOOK_EVERY_S)
            run = door.get(f"{API}/runs/{run['id']}")
            if quiet and not as_json and any(run[name] != before[name] for name in ("state", "phase")):
                err.print(f"{run['state']} {_progress(run)}", soft_wrap=True)
            if run["error"] and run["error"] != before["error"] and not as_json:
                err.print(plain(run["error"]), soft_wrap=True)
            if _standing(run) != _standing(before):
                say_still_at = time.monotonic() + STILL_S
            elif time.monotonic() >= say_still_at and not as_json:
                _say(err, STILL, run)
                say_still_at = math.inf
    if as_json:
        print_json({"ok": run["state"] not in ("failed", "cancelled"), **run})
    else:
        _sum_up(run)
    return NOT_DONE if run["state"] in ("failed", "cancelled") else 0


def _show_finding(one: Mapping[str, Any]) -> None:
    detail = one["detail"] or {}
    of = " ".join(filter(None, (_name(detail), one["local_id"],
                                one["external_id"] and f"there 对方 {one['external_id']}")))
    decided = f" → {one['decision']}" if one["decision"] else ""
    out.print(f"[bold]{one['kind']}[/] {plain(of)}{decided} [dim]{one['id']} version {one['version']}[/]",
              soft_wrap=True)  # fmt: skip
    for name in one["fields"]:
        sides = [f"{plain(value)} {title}" for side, title in (AS_SENT if "as_sent" in detail else SIDES).items()
                 for value in _values(detail.get(side), name)]
        out.print(f"    {name}: {', '.join(sides)}", soft_wrap=True)
    for sentence in _sentences(detail.get("reason")):
        out.print(f"    {plain(sentence)}", soft_wrap=True)
    if detail.get("too_common"):
        common = ", ".join(detail["too_common"])
        out.print(f"    too many have the same 太多记录相同，不作依据: {common}", soft_wrap=True)
    if one["candidates"]:
        out.print(f"    may be there 候选: {plain(', '.join(one['candidates']))}", soft_wrap=True)


def _name(detail: Mapping[str, Any]) -> str:
    """Return by what people know a record, as far as a side of its finding tells; masked where that is."""
    sides = [side for side in map(detail.get, (*AS_SENT, *SIDES)) if isinstance(side, Mapping)]
    known = (side[name] for name in NAMES for side in sides if side.get(name))
    return next((_shown(one) for one in known), "")


def _values(side: Mapping[str, Any] | list[Mapping[str, Any]] | None, name: str) -> Iterable[str]:
    """Yield what stands in a field on one side: in a match, of each candidate there."""
    for record in side if isinstance(side, list) else (side or {},):
        yield _shown(record.get(name))


def _sum_up(run: dict[str, Any]) -> None:
    """Print how far a run is, and what to do about it in both languages."""
    out.print(_headed(run), soft_wrap=True)
    if run["error"]:
        out.print(plain(run["error"]), soft_wrap=True)
    _say(out, WHAT_NOW[run["state"]], run)


def _say(to: Console, sentences: Mapping[str, str], run: Mapping[str, Any]) -> None:
    for sentence in sentences.values():
        to.print(f"  → {plain(sentence.format_map(run))}", soft_wrap=True)


def _standing(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """What changes when a run moves."""
    return run["state"], run["phase"], run["counts"]


def _progress(run: dict[str, Any]) -> str:
    """Tell the phase, and how much of all is done; where nobody knows how much there is, what was counted."""
    left = "" if run["seconds_left"] is None else f", ~{run['seconds_left']} s"
    done = f"{_percent(run)}, {run['counts'].get('seen', 0)}/{run['total']}{left}" if _percent(run) else _counts(run)
    return f"{run['phase'] or ''} {done}".strip()


def _percent(run: dict[str, Any]) -> str:
    return "" if run["percent"] is None else f"{math.floor(run['percent'])} %"


def _headed(run: dict[str, Any]) -> str:
    return f"{run['kind']} {run['entity']}  {run['state']}  {_counts(run)}".rstrip()


def _counts(run: dict[str, Any]) -> str:
    counts = [f"{count} {name.replace('_', ' ')}" for name, count in sorted(run["counts"].items())]
    if run["kind"] == "reconcile" and run["state"] == "completed" and not any(map(run["counts"].get, DIFFERENCES)):
        counts.append("0 differ")
    return ", ".join(counts)


def _sentences(reason: Mapping[str, str] | str | None) -> Iterable[str]:
    """Return a reason in every language that it is told in; one of before there were two is a text."""
    return reason.values() if isinstance(reason, Mapping) else filter(None, (reason,))


def _shown(value: Any) -> str:
    if value is None:
        return "nothing 无"
    texts = value if isinstance(value, list) and value else [value]
    return ", ".join(texts) if all(isinstance(one, str) for one in texts) else json.dumps(value, ensure_ascii=False)


def _read(given: list[str] | None) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in pairs(given, "without_matching=true"):
        try:
            read[name] = json.loads(value)
        except ValueError:
            read[name] = value
    return read
