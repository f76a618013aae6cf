"""The databases of the rooms, reached by their settings; a room's own code is never imported here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.installation import ROOT, Installation
from hub.trouble import Trouble

if TYPE_CHECKING:
    from chassis.outbox import Refused


def databases(hub: Installation) -> dict[str, str]:
    """Return the database URI of every room that has migrations, in starting order.

    Raises:
        Trouble: a configuration file cannot be read.
    """
    return {room: database_uri(hub, room) for room in hub.rooms if (ROOT / "services" / room / "migrations").is_dir()}


def database_uri(hub: Installation, room: str) -> str:
    """Return a room's database: `DB_URI_<ROOM>`, the key `db_uri` of its file, or SQLite below `HUB_HOME`."""
    own = hub.environ.get(f"DB_URI_{room.upper()}") or _from_file(hub.environ, room).get("db_uri")
    return str(own or "sqlite:///{home}/db/{room}.sqlite").replace("{home}", str(hub.home)).replace("{room}", room)


def _from_file(environ: Mapping[str, str], room: str) -> dict[str, Any]:
    import yaml

    named = environ.get(f"HUB_CONFIG_{room.upper()}")
    if not named:
        return {}
    try:
        content = yaml.safe_load(Path(named).read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        remedy = f"correct it, or unset HUB_CONFIG_{room.upper()}"
        raise Trouble(f"{named} cannot be read as YAML ({error})", remedy) from error
    return content if isinstance(content, dict) else {}


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite URI, None for a server's."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def holds_sealed_data(uri: str) -> bool:
    """Whether a database exists and has data keys, which only the master key opens."""
    from chassis.crypto import DataKeys
    from contracts.errors import Unavailable

    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return False
    try:
        return bool(DataKeys(uri).all())
    except Unavailable:  # not migrated yet
        return False


def is_old(room: str, uri: str) -> bool:
    """Whether a room's database is of an older revision than the code; one that cannot be read is not."""
    from sqlalchemy.exc import SQLAlchemyError

    from chassis import revision
    from chassis.database import Database

    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return False
    db = Database(uri)
    try:
        with db.engine.connect() as connection:
            at = revision.current(connection)
        return at is not None and at < revision.newest(room)
    except (SQLAlchemyError, OSError):
        return False
    finally:
        db.close()


def migrate(room: str, uri: str) -> None:
    """Bring a room's database to the newest revision.

    Raises:
        Trouble: the database is away, locked or full, or a revision fails.
    """
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from chassis import migrations
    from contracts.errors import HubError

    try:
        migrations.upgrade(room, uri)
    except (SQLAlchemyError, CommandError, HubError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise Trouble(f"the database of {room} could not be migrated ({reason})", _remedy(room, uri)) from error


def problem(room: str, uri: str) -> Trouble | None:
    """Return what is wrong with a room's database: away, damaged or behind; None when it is as it must be."""
    from sqlalchemy.exc import SQLAlchemyError

    from chassis import revision
    from chassis.database import Database
    from contracts.errors import HubError

    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return Trouble(f"{file} does not exist", f"run hub migrate {room}")
    db = Database(uri)
    try:
        with db.engine.connect() as connection:
            if file is not None and (found := connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()) != "ok":
                return Trouble(f"{file} is damaged ({found})", "stop the hub and restore the last backup")
        behind = revision.behind(room, db)
        return Trouble(f"{room}: {behind.partition(';')[0]}", f"run hub migrate {room}") if behind else None
    except (SQLAlchemyError, HubError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return Trouble(f"the database of {room} does not answer ({reason})", _remedy(room, uri))
    finally:
        db.close()


@dataclass(frozen=True)
class Outbox:
    """What a room has not sent yet.

    Attributes:
        waited_s: seconds for which the oldest has been due; 0 when all is sent.
        refused: `chassis.outbox.Refused`, one for each kind of event that the broker does not take.
    """

    waited_s: float
    refused: Sequence[Refused]


def outbox(uri: str) -> Outbox | None:
    """Return what waits in a room's outbox; None when its database cannot be read."""
    from sqlalchemy.exc import SQLAlchemyError

    from chassis import outbox as kept
    from chassis.database import Database, utcnow
    from contracts.errors import HubError

    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return None
    db = Database(uri)
    try:
        with db.read() as session:
            since = kept.oldest_unsent(session)
            return Outbox(max((utcnow() - since).total_seconds(), 0.0) if since else 0.0, kept.refused(session))
    except (SQLAlchemyError, HubError, OSError):
        return None
    finally:
        db.close()


def _remedy(room: str, uri: str) -> str:
    file = sqlite_file(uri)
    if file is not None:
        return f"look at room and rights of {file.parent}"
    return f"start the database server, or correct DB_URI_{room.upper()}"
