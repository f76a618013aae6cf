"""Our codes and a target's, through the gateway: which stand for each other."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from hub import files
from hub.installation import API, Installation
from hub.terminal import Json, answer, plain, print_json, print_table, verb

app = typer.Typer(no_args_is_help=True, help="Say which codes of a target stand for ours: units, warehouses, cities.")

Connection = Annotated[str, typer.Argument(help="Its name or id.")]
TableName = Annotated[str, typer.Argument(metavar="TABLE", help="Such as cities.")]


@app.command("list")
@verb
def list_(connection: Connection, as_json: Json = False) -> int:
    """Show every code table of a connection; one that is a setting is changed with hub connections change."""
    from hub import client

    with client.asking(Installation.here()) as door:
        found = door.get(f"{API}/connections/{client.connection_id(door, connection)}/code-tables")["items"]
    if as_json:
        print_json({"ok": True, "code_tables": found})
        return 0
    table = Table("table", "codes", "kept as", box=None, pad_edge=False)
    for one in found:
        table.add_row(plain(one["name"]), str(len(one["codes"])), "setting" if one["setting"] else "table")
    print_table(table)
    return 0


@app.command()
@verb
def show(connection: Connection, table: TableName, as_json: Json = False) -> int:
    """Print the codes of a table as JSON, ours → theirs, as put takes them."""
    from hub import client

    with client.asking(Installation.here()) as door:
        one = door.get(f"{API}/connections/{client.connection_id(door, connection)}/code-tables/{table}")
    print_json({"ok": True, **one} if as_json else one["codes"])
    return 0


@app.command()
@verb
def put(
    connection: Connection,
    table: TableName,
    file: Annotated[str, typer.Argument(metavar="FILE", help="All its codes as JSON, ours → theirs; - is standard "
                                                             "input.")],
    as_json: Json = False,
) -> int:
    """Replace a code table; refused, with every gap named, while an active route needs a code that it takes out."""
    from hub import client

    codes = files.document(file)
    with client.asking(Installation.here()) as door:
        path = f"{API}/connections/{client.connection_id(door, connection)}/code-tables/{table}"
        kept = door.put(path, {"codes": codes})
    return answer(kept, f"{kept['name']}: {len(kept['codes'])} codes 个代码", as_json=as_json)
