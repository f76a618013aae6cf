"""What a target is sent of a record, through the gateway: save a mapping, look at what it does, put it in force."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from hub import files, sync_routes
from hub.installation import API, Installation
from hub.sync_routes import Connection, Entity
from hub.terminal import Json, answer, out, plain, print_json, print_table, verb
from hub.trouble import Trouble

if TYPE_CHECKING:
    from hub.demo.door import Door

app = typer.Typer(no_args_is_help=True, help="Say what a target is sent of a record: docs/guides/map-fields.md.")

Number = Annotated[int, typer.Argument(help="As hub mappings list shows it.")]
NONE = "none"
NOT_ALL = 3
"""Exit code of a preview in which a record could not be sent."""

SAVED: Mapping[str, str] = {
    "en": "Saved as version {number}. Look at what it would send: hub mappings preview {there}; put it in force: "
          "hub mappings use {there}",
    "zh-CN": "已保存为第 {number} 版。请查看将发送的内容：hub mappings preview {there}；启用：hub mappings use {there}"}


@app.command("list")
@verb
def list_(connection: Connection, entity: Entity, as_json: Json = False) -> int:
    """Show every version of a route's mapping, newest first, and which is in force."""
    from hub import client

    with _route(connection, entity) as (door, path):
        found = list(client.every(door, f"{path}/mappings", {}))
    if as_json:
        print_json({"ok": True, "mappings": found})
        return 0
    table = Table("number", "in force", "since (UTC)", "by", box=None, pad_edge=False)
    for one in found:
        table.add_row(str(one["number"]), "yes" if one["in_force"] else "", one["created_at"][:19], one["created_by"])
    print_table(table)
    return 0


@app.command()
@verb
def show(
    connection: Connection,
    entity: Entity,
    number: Annotated[int | None, typer.Argument(help="By default the one in force, else the newest.")] = None,
    as_json: Json = False,
) -> int:
    """Print a mapping as it was saved."""
    with _route(connection, entity) as (door, path):
        number = number or door.get(path)["mapping_version"] or _newest(door, path)
        one = door.get(f"{path}/mappings/{number}")
    if as_json:
        print_json({"ok": True, **one})
    else:
        typer.echo(one["text"], nl=not one["text"].endswith("\n"))
    return 0


@app.command()
@verb
def save(
    connection: Connection,
    entity: Entity,
    file: Annotated[str, typer.Argument(metavar="FILE", help="YAML; - is standard input.")],
    as_json: Json = False,
) -> int:
    """Save a mapping as the next version; nothing changes until it is put in force."""
    text = files.text(file)
    with _route(connection, entity) as (door, path):
        saved = door.post(f"{path}/mappings", {"text": text})
    there = f"{shlex.quote(connection)} {shlex.quote(entity)} {saved['number']}"
    return answer(saved, *(plain(line.format(number=saved["number"], there=there)) for line in SAVED.values()),
                  as_json=as_json)  # fmt: skip


@app.command()
@verb
def preview(
    connection: Connection,
    entity: Entity,
    number: Number,
    limit: Annotated[int | None, typer.Option(min=1, max=20, help="How many records, newest first; else 5.")] = None,
    record: Annotated[list[str] | None, typer.Option(help="The id of one of ours. May be repeated.")] = None,
    as_json: Json = False,
) -> int:
    """Show what would be sent of real records, and change nothing. Exit code 3 when one could not be sent.

    A field with * is sent otherwise than by the version in force.
    """
    from hub import client

    with _route(connection, entity) as (door, path):
        asked = client.only_given(limit=limit, ids=record or None)
        seen = door.get(f"{path}/mappings/{number}/preview", **asked)
    if as_json:
        print_json({"ok": True, **seen})
    else:
        for one in seen["records"]:
            _show(one)
    return NOT_ALL if any(one["problem"] for one in seen["records"]) else 0


@app.command()
@verb
def use(
    connection: Connection,
    entity: Entity,
    number: Annotated[str, typer.Argument(help="As hub mappings list shows it; none: records are sent as they are.")],
    as_json: Json = False,
) -> int:
    """Put a version in force; refused, with every gap named, while records use codes that a code table lacks."""
    if number != NONE and not number.isdecimal():
        raise Trouble(f"{number!r} is no version of a mapping", "hub mappings list shows them")
    with _route(connection, entity) as (door, path):
        used = door.put(f"{path}/mapping", {"number": None if number == NONE else int(number)})
    return answer(used, f"{entity}  {_named(used)}", as_json=as_json)


@contextmanager
def _route(connection: str, entity: str) -> Iterator[tuple[Door, str]]:
    """Lend the gateway, and the path of a route."""
    from hub import client

    with client.asking(Installation.here()) as door:
        yield door, f"{API}/routes/{sync_routes.route_id(door, client.connection_id(door, connection), entity)}"


def _newest(door: Door, path: str) -> int:
    saved: list[dict[str, int]] = door.get(f"{path}/mappings", limit=1)["items"]
    if not saved:
        raise Trouble("the route has no mapping", "save one with hub mappings save")
    return saved[0]["number"]


def _named(used: Mapping[str, Any]) -> str:
    return f"version {used['number']}" if used["number"] else NONE


def _show(one: Mapping[str, Any]) -> None:
    there = "stands there 对方已有" if one["bound"] else "new there 对方没有"
    out.print(f"[bold]{one['local_id']}[/] version {one['version']}  {there}", soft_wrap=True)
    if one["problem"]:
        out.print(f"  [red]{plain(one['problem']['field'])}: {plain(one['problem']['message'])}[/]", soft_wrap=True)
    body = {name: json.dumps(value, ensure_ascii=False) for name, value in (one["body"] or {}).items()}
    for name, value in {**dict.fromkeys(one["changed"], "not sent any more 不再发送"), **body}.items():
        mark = "*" if name in one["changed"] else " "
        out.print(f"  {mark} {plain(name)}: {plain(value)}", soft_wrap=True)
