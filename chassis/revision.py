"""Which revision a service's database is at, and which it should be.

Read without Alembic: importing it takes 10 MB and a fifth of a second of a process that will migrate nothing.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

from chassis.config import ConfigError
from chassis.database import Database
from contracts.errors import Unavailable

_AT = sa.table("alembic_version", sa.column("version_num"))


def folder(room: str) -> Path:
    """Return where a room's migrations are.

    Raises:
        ConfigError: there is no such room.
    """
    found = find_spec(f"services.{room}")
    places = list(found.submodule_search_locations or ()) if found else []
    if not places:
        raise ConfigError(f"there is no room {room!r} in this installation")
    return Path(places[0]) / "migrations"


@cache
def newest(room: str) -> str:
    """Return the newest revision of a room's migrations: their files begin with it, `0002_what_it_does.py`."""
    return max(file.name.partition("_")[0] for file in (folder(room) / "versions").glob("[0-9]*_*.py"))


def current(connection: sa.Connection) -> str | None:
    """Return the revision that a database is at, None where nothing has been migrated."""
    if not sa.inspect(connection).has_table(_AT.name):
        return None
    at: str | None = connection.scalar(sa.select(_AT.c.version_num))
    return at


def behind(room: str, db: Database) -> str | None:
    """Return what is missing when the database is not at the newest revision, else None."""
    try:
        with db.read() as session:
            at = current(session.connection())
    except Unavailable:
        return "the database is away"
    head = newest(room)
    return None if at == head else f"the database is at version {at or 'none'}, not {head}; run: hub migrate {room}"
