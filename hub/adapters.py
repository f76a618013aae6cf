"""The kinds of systems that the hub can be joined to, and a new one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hub.installation import API, ROOT, Installation
from hub.terminal import Json, out, plain, print_json, print_table, verb
from hub.trouble import Trouble

app = typer.Typer(no_args_is_help=True, help="Join another kind of system to the hub.")


@app.command("list")
@verb
def list_(as_json: Json = False) -> int:
    """Show every adapter that is installed: what goes there, what comes back, and what its target lets the hub keep."""
    from hub import client

    with client.asking(Installation.here()) as door:
        found = door.get(f"{API}/adapters")["items"]
    if as_json:
        print_json({"ok": True, "adapters": found})
        return 0
    table = Table("adapter", "version", "sent", "fetched", "guarantee", box=None, pad_edge=False)
    for one in found:
        table.add_row(plain(one["name"]), plain(one["version"]), plain(", ".join(one["entities"])),
                      plain(", ".join(one["pulled"]) or "-"), plain(one["guarantee"].replace("_", " ")))
    print_table(table)
    return 0


@app.command()
@verb
def show(name: Annotated[str, typer.Argument(help="As list shows it.")], as_json: Json = False) -> int:
    """Print as JSON what a connection of it is told: settings, secrets, and the fields that a mapping fills."""
    from hub import client

    with client.asking(Installation.here()) as door:
        found = door.get(f"{API}/adapters")["items"]
    one = next((adapter for adapter in found if adapter["name"] == name), None)
    if one is None:
        raise Trouble(f"there is no adapter {name!r}", "hub adapter list shows them")
    print_json({"ok": True, **one} if as_json else one)
    return 0


@app.command()
@verb
def new(
    name: Annotated[str, typer.Argument(help="As a connection will name it, such as cards.")],
    into: Annotated[Path | None, typer.Option("--into", help="The folder to put it in; by default this one.")] = None,
    ours: Annotated[bool, typer.Option("--ours", help="Beside the hub's own adapters, not as a package.")] = False,
    as_json: Json = False,
) -> int:
    """Make the folder of a new adapter, a package of its own that passes the first half of the conformance kit."""
    from hub import adapter_scaffold

    made = adapter_scaffold.make(name, into or (ROOT if ours else Path()), ours=ours)
    if as_json:
        print_json({"ok": True, **asdict(made)})
        return 0
    out.print(f"Made {made.folder}", soft_wrap=True)
    for number, step in enumerate(made.steps, 1):
        out.print(f"\n{number}. {plain(step['en'])}\n   {plain(step['zh-CN'])}", soft_wrap=True)
    return 0
