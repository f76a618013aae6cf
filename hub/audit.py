"""Reading the audit trails of the rooms again: are they whole, and if not, where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hub.databases import databases, sqlite_file
from hub.installation import Installation
from hub.keys import Keys
from hub.trouble import Trouble

if TYPE_CHECKING:
    from chassis.audit.verification import Report

Told = Callable[[str, int, int], None]
"""Hears of the progress: room, entries read, entries there are."""


def verify(hub: Installation, room: str, checkpoints: Path | None, told: Told) -> Report:
    """Read the trail of a room and hold it against its checkpoints.

    Args:
        hub: whose room it is.
        room: one with a database.
        checkpoints: another file of checkpoints than the one of this machine, such as a copy kept elsewhere.
        told: hears of the progress.

    Raises:
        Trouble: the trail cannot be read: no database, no master key, no rights.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from chassis.audit import verification, witness
    from chassis.audit.chain import Keys as Signing
    from chassis.crypto import MasterKey, MasterKeyError
    from chassis.database import Database
    from contracts.errors import HubError

    uri = databases(hub)[room]
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise Trouble(f"{file} does not exist", f"run hub migrate {room}")
    try:
        keys = Signing(MasterKey.load(Keys.of(hub).master), room)
    except MasterKeyError as error:
        raise Trouble(str(error), "verify where the master key is: it tells whose checkpoints these are") from error
    db = Database(uri, pool_size=1)
    try:
        kept = checkpoints or witness.path_of(folder(hub), room)
        return verification.verify(db, room, keys, kept, lambda done, of: told(room, done, of))
    except (SQLAlchemyError, HubError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise Trouble(f"the audit trail of {room} cannot be read ({reason})", f"run hub doctor, then hub migrate {room}"
                      ) from error
    finally:
        db.close()


def folder(hub: Installation) -> Path:
    """Return the folder of the checkpoints: `HUB_AUDIT_DIR`, or `audit` below `HUB_HOME`."""
    return Path(hub.environ.get("HUB_AUDIT_DIR") or hub.home / "audit")
