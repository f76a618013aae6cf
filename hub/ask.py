"""Any request of the API, for what has no verb of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hub.installation import API, Installation
from hub.terminal import print_json, verb
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

    asked = [pair.partition("=") for pair in query or ()]
    if method.upper() not in METHODS:
        raise Trouble(f"{method!r} is no method", f"choose of: {', '.join(METHODS)}")
    if lacking := [name for name, equals, _value in asked if not equals]:
        raise Trouble(f"{lacking[0]!r} is no NAME=VALUE", "write it as state=dead")
    with client.asking(Installation.here()) as door:
        said = door.ask(method.upper(), f"{API}/{path.removeprefix(API).lstrip('/')}",
                        [(name, value) for name, _equals, value in asked], _read(body), version)
    print_json(said)
    return 0


def _read(given: str | None) -> Any:
    """Return the body that an option names.

    Raises:
        Trouble: it is no JSON, or its file cannot be read.
    """
    if given is None:
        return None
    try:
        if given == "@-":
            given = sys.stdin.read()
        elif given.startswith("@"):
            given = Path(given[1:]).read_text(encoding="utf-8")
        return json.loads(given)
    except OSError as error:
        raise Trouble(f"{error.filename} cannot be read ({error.strerror})", "name a file that exists") from error
    except ValueError as error:
        raise Trouble(f"the body is no JSON ({error})", "write it as {\"name\": \"value\"}") from error
