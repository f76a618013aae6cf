"""Changes on their way to other systems, through the gateway: how each stands, and the calls made for it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from hub.installation import API, Installation
from hub.terminal import Json, answer, out, plain, print_json, print_table, verb

app = typer.Typer(no_args_is_help=True, help="Look at changes on their way to other systems. See also: hub why.")


@app.command("list")
@verb
def list_(
    connection: Annotated[str | None, typer.Option(help="Only to this one, by name or id.")] = None,
    state: Annotated[str | None, typer.Option(help="Such as dead, blocked or retry_wait.")] = None,
    entity: Annotated[str | None, typer.Option(help="Such as order.")] = None,
    record: Annotated[str | None, typer.Option(help="Only of the record with this id.")] = None,
    error_class: Annotated[str | None, typer.Option(help="Such as invalid or unresolvable.")] = None,
    most: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    as_json: Json = False,
) -> int:
    """Show deliveries, newest first."""
    from hub import client

    with client.asking(Installation.here()) as door:
        asked = {"connection_id": client.connection_id(door, connection) if connection else None, "state": state,
                 "entity": entity, "local_id": record, "error_class": error_class}  # fmt: skip
        found = list(client.every(door, f"{API}/deliveries", asked, most))
    if as_json:
        print_json({"ok": True, "deliveries": found})
        return 0
    table = Table("delivery", "entity", "record", "op", "state", "why", "since (UTC)", box=None, pad_edge=False)
    for one in found:
        table.add_row(one["id"], one["entity"], one["local_id"], one["op"], one["state"], one["error_class"] or "",
                      one["created_at"][:19])  # fmt: skip
    print_table(table)
    return 0


@app.command()
@verb
def cancel(
    delivery: Annotated[str, typer.Argument(help="Its id, as hub deliveries list shows it.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit trail.")] = "",
    as_json: Json = False,
) -> int:
    """Call off a delivery that still waits; the next change of its record goes as ever."""
    from hub import client

    with client.asking(Installation.here()) as door:
        told = door.post(f"{API}/deliveries/{delivery}/cancel", {"reason": reason})
    return answer(told, f"{told['op']} {told['entity']} {told['local_id']}  {told['state']}", as_json=as_json)


@app.command()
@verb
def bind(
    delivery: Annotated[str, typer.Argument(help="Its id, as hub why shows it; any delivery of the record will do.")],
    external_id: Annotated[str, typer.Argument(help="The id by which you have found the record in the system.")],
    reason: Annotated[str, typer.Option(help="How you know; it stands in the audit trail.")],
    as_json: Json = False,
) -> int:
    """Say which record in the system is that of a delivery, where the hub cannot find out. Nothing is sent for it."""
    from hub import client

    with client.asking(Installation.here()) as door:
        one = door.get(f"{API}/deliveries/{delivery}")
        asked = {"entity": one["entity"], "local_id": one["local_id"], "external_id": external_id, "reason": reason}
        bound = door.post(f"{API}/connections/{one['connection_id']}/bindings", asked)
    ours, theirs = f"{bound['entity']} {bound['local_id']}", plain(bound["external_id"])
    return answer(bound, f"{ours} is {theirs} there. Send what is missing: hub retry DELIVERY",
                  f"{ours} 在对方系统中是 {theirs}。发送尚缺的内容：hub retry DELIVERY", as_json=as_json)


@app.command()
@verb
def show(
    delivery: Annotated[str, typer.Argument(help="Its id, as hub deliveries list shows it.")],
    calls: Annotated[bool, typer.Option("--calls", help="Show what was sent and answered, redacted.")] = False,
    as_json: Json = False,
) -> int:
    """Show one delivery, what comes next, and every call made for it."""
    from hub import client, why

    with client.asking(Installation.here()) as door:
        one = door.get(f"{API}/deliveries/{delivery}")
        attempts = list(client.every(door, f"{API}/deliveries/{delivery}/attempts", {}))
    if as_json:
        print_json({"ok": True, **one, "tries": attempts})
        return 0
    kind = f" ({one['error_class']})" if one["error_class"] else ""
    out.print(f"{one['op']} {one['entity']} {one['local_id']} version {one['source_version']}  "
              f"[bold]{one['state']}{kind}[/]", soft_wrap=True)
    if one["last_error"]:
        out.print(f"  {plain(one['last_error'])}", soft_wrap=True)
    if one["state"] in ("pending", "retry_wait", "in_doubt"):
        out.print(f"  due {one['due_at'][:19]} UTC")
    why.say(out, one["next_step"].values())
    for attempt in attempts:
        why.show_call(out, attempt, previews=calls)
    return 0
