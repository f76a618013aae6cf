"""Any request of the API, for what has no verb of its own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hub import files
from hub.installation import API, Installation
from hub.terminal import pairs, print_json, verb
from hub.trouble import Trouble

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@verb
def api(
    method: Annotated[str, typer.Argument(help="GET, POST, PUT, PATCH or DELETE.")],
    path: Annotated[str, typer.Argument(help="As the API's document names it, such as /connections.")],
    query: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be repeated.")] = None,
    body: Annotated[
        str | None,
        typer.Option(metavar="JSON|@FILE|@-", help="A secret belongs in a file or on standard input, never in a line "
                                                   "that others can list."),
    ] = None,
    version: Annotated[int | None, typer.Option(help="The version that is changed (If-Match).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Tell trouble as JSON too.")] = False,
) -> int:
    """Ask the gateway anything, with your key, and print its JSON answer."""
    from hub import client

    asked = pairs(query, "state=dead")
    if method.upper() not in METHODS:
        raise Trouble(f"{method!r} is no method", f"choose of: {', '.join(METHODS)}")
    with client.asking(Installation.here()) as door:
        said = door.ask(method.upper(), f"{API}/{path.removeprefix(API).lstrip('/')}", asked, _read(body), version)
    print_json(said)
    return 0


def _read(given: str | None) -> Any:
    if given is None:
        return None
    return files.document(given[1:]) if given.startswith("@") else files.parsed(given, "--body")
