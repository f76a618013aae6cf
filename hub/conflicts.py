"""Where the hub and another system do not agree, through the gateway: what is open, and what people decide."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.installation import API, Installation
from hub.terminal import Json, answer, out, plain, print_json, verb

app = typer.Typer(no_args_is_help=True, help="Decide where the hub and another system do not agree.")


@app.command("list")
@verb
def list_(
    connection: Annotated[str | None, typer.Option(help="Only with this one, by name or id.")] = None,
    entity: Annotated[str | None, typer.Option(help="Such as order.")] = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Those that were decided instead.")] = False,
    most: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    as_json: Json = False,
) -> int:
    """Show conflicts that wait for a person, newest first. Exit code 3 when any does."""
    from hub import client

    with client.asking(Installation.here()) as door:
        asked = {"connection_id": client.connection_id(door, connection) if connection else None, "entity": entity,
                 "state": "resolved" if resolved else "open"}  # fmt: skip
        found = list(client.every(door, f"{API}/conflicts", asked, most))
    if as_json:
        print_json({"ok": True, "conflicts": found})
    else:
        for one in found:
            of = one["local_id"] or f"there 对方 {one['external_id']}"
            decided = f" → {one['resolution']}" if one["resolution"] else ""
            named = f" {', '.join(one['fields'])}" if one["fields"] else ""
            out.print(f"[bold]{one['code']}[/] {one['entity']} {plain(of)}{plain(named)}{decided} [dim]{one['id']}[/]",
                      soft_wrap=True)  # fmt: skip
            out.print(f"    {plain(one['reason'])}", soft_wrap=True)
    return 3 if found and not resolved else 0


@app.command()
@verb
def resolve(
    conflict: Annotated[str, typer.Argument(help="Its id, as hub conflicts list shows it.")],
    resolution: Annotated[str, typer.Argument(help="keep_local, keep_remote or dismissed.")],
    note: Annotated[str, typer.Option(help="Why; it stands in the audit trail.")] = "",
    as_json: Json = False,
) -> int:
    """Decide a conflict: bring ours there again, take theirs over here, or leave both as they are."""
    from hub import client

    with client.asking(Installation.here()) as door:
        told = door.post(f"{API}/conflicts/{conflict}/resolve", {"resolution": resolution, "note": note})
    return answer(told, f"{told['code']}  {told['state']}  {told['resolution']}", as_json=as_json)
