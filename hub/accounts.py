"""Whose account at a target is whose, through the gateway: what is assigned to a user is brought there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from hub.installation import API, Installation
from hub.terminal import Json, answer, plain, verb

if TYPE_CHECKING:
    from hub.demo.door import Door

app = typer.Typer(no_args_is_help=True, help="Say which account at a system is a user's.")

Connection = Annotated[str, typer.Argument(help="Its name or id.")]
User = Annotated[str, typer.Argument(help="User name or id.")]


@app.command()
@verb
def show(connection: Connection, user: User, as_json: Json = False) -> int:
    """Show the account of a user."""
    with _account(connection, user) as (door, path):
        one = door.get(path)
    return answer(one, plain(one["account"]), as_json=as_json)


@app.command()
@verb
def put(
    connection: Connection,
    user: User,
    account: Annotated[str, typer.Argument(help="As it is called there.")],
    as_json: Json = False,
) -> int:
    """Say which account is a user's; what waited for it goes on."""
    with _account(connection, user) as (door, path):
        one = door.put(path, {"account": account})
    return answer(one, plain(one["account"]), as_json=as_json)


@app.command()
@verb
def delete(connection: Connection, user: User, as_json: Json = False) -> int:
    """Forget the account of a user; what lies in it stays there."""
    with _account(connection, user) as (door, path):
        door.ask("DELETE", path, (), None, None)
    return answer({"deleted": True}, "forgotten 已删除", as_json=as_json)


@contextmanager
def _account(connection: str, user: str) -> Iterator[tuple[Door, str]]:
    """Lend the gateway, and the path of a user's account."""
    from hub import client

    with client.asking(Installation.here()) as door:
        path = f"{API}/connections/{client.connection_id(door, connection)}/accounts"
        yield door, f"{path}/{client.user_id(door, user)}"
