"""Which entity travels over which connection, through the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from hub.installation import API, Installation
from hub.terminal import Json, answer, pairs, plain, print_json, print_table, verb
from hub.trouble import Trouble

if TYPE_CHECKING:
    from hub.demo.door import Door

app = typer.Typer(no_args_is_help=True, help="Say what travels where, look at it, and switch it on and off.")

Connection = Annotated[str, typer.Argument(help="Its name or id.")]
Entity = Annotated[str, typer.Argument(help="Such as customer.")]
Filter = Annotated[
    str | None,
    typer.Option("--filter", metavar="EXPRESSION", help="JMESPath: which records are made there; '' is every one."),
]
Owner = Annotated[
    list[str] | None,
    typer.Option(metavar="FIELD=SIDE", help="Whose a field is: local, remote, latest or manual. May be repeated."),
]
OnMissing = Annotated[str | None, typer.Option(help="Of a record that has gone there: recreate or conflict.")]


@app.command("list")
@verb
def list_(
    connection: Annotated[str | None, typer.Option(help="Only of this one, by name or id.")] = None,
    as_json: Json = False,
) -> int:
    """Show every route: entity, direction, whether it is on, and its mapping."""
    from hub import client

    with client.asking(Installation.here()) as door:
        asked = {"connection_id": client.connection_id(door, connection) if connection else None}
        found = list(client.every(door, f"{API}/routes", asked))
        names = {one["id"]: one["name"] for one in client.every(door, f"{API}/connections", {})}
    if as_json:
        print_json({"ok": True, "routes": found})
        return 0
    table = Table("connection", "entity", "direction", "state", "mapping", "id", box=None, pad_edge=False)
    for one in found:
        version = one["mapping_version"]
        table.add_row(plain(names.get(one["connection_id"], one["connection_id"])), one["entity"], one["direction"],
                      one["state"], f"version {version}" if version else "none", one["id"])  # fmt: skip
    print_table(table)
    return 0


@app.command()
@verb
def create(
    connection: Connection,
    entity: Entity,
    direction: Annotated[str, typer.Argument(help="push, pull or both.")],
    filter_: Filter = None,
    owner: Owner = None,
    on_missing: OnMissing = None,
    as_json: Json = False,
) -> int:
    """Draft a route; it carries nothing until it is activated."""
    from hub import client

    with client.asking(Installation.here()) as door:
        body = client.only_given(connection_id=client.connection_id(door, connection), entity=entity,
                                 direction=direction, owners=_owners(owner), on_missing=on_missing)  # fmt: skip
        route = door.post(f"{API}/routes", {**body, **_filter(filter_)})
    return _stands(route, as_json=as_json)


@app.command()
@verb
def change(
    connection: Connection,
    entity: Entity,
    direction: Annotated[str | None, typer.Option(help="push, pull or both.")] = None,
    filter_: Filter = None,
    owner: Owner = None,
    on_missing: OnMissing = None,
    version: Annotated[int | None, typer.Option(help="Refuse if it is another by now.")] = None,
    as_json: Json = False,
) -> int:
    """Change what is given, and nothing else; the owners of fields are given all anew."""
    from hub import client

    with client.asking(Installation.here()) as door:
        path = f"{API}/routes/{route_id(door, client.connection_id(door, connection), entity)}"
        changes = client.only_given(direction=direction, owners=_owners(owner), on_missing=on_missing)
        route = client.change(door, path, {**changes, **_filter(filter_)}, version)
    return _stands(route, as_json=as_json)


@app.command()
@verb
def activate(
    connection: Connection,
    entity: Entity,
    without_matching: Annotated[
        str | None, typer.Option(metavar="REASON", help="Why nothing there can be a record of ours.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Switch a route on; refused, with every gap named, while something is missing."""
    told = {"without_matching": True, "reason": without_matching} if without_matching else None
    return _switched(connection, entity, "activate", told, as_json=as_json)


@app.command()
@verb
def deactivate(connection: Connection, entity: Entity, as_json: Json = False) -> int:
    """Switch a route off; what it accepted before is still delivered."""
    return _switched(connection, entity, "deactivate", as_json=as_json)


def _switched(connection: str, entity: str, to: str, told: dict[str, Any] | None = None, *, as_json: bool) -> int:
    from hub import client

    with client.asking(Installation.here()) as door:
        id = route_id(door, client.connection_id(door, connection), entity)
        route = door.post(f"{API}/routes/{id}/{to}", told)
    return _stands(route, as_json=as_json)


def _stands(route: dict[str, Any], *, as_json: bool) -> int:
    return answer(route, f"{route['entity']}  {route['direction']}  {route['state']}", as_json=as_json)


def _filter(given: str | None) -> dict[str, Any]:
    return {} if given is None else {"filter": given or None}


def _owners(given: list[str] | None) -> dict[str, str] | None:
    return dict(pairs(given, "title=latest")) or None


def route_id(door: Door, connection_id: str, entity: str) -> str:
    """Return the id of the route of an entity over a connection.

    Raises:
        Trouble: there is none within reach of whoever asks.
    """
    found: list[dict[str, Any]] = door.get(f"{API}/routes", connection_id=connection_id, entity=entity)["items"]
    if not found:
        raise Trouble(f"the connection has no route for {entity!r}", "hub routes list shows them")
    return str(found[0]["id"])
