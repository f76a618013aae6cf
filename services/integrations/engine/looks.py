"""Looking at one record of a target for a person who decides about it: between two transactions, never inside one."""

from __future__ import annotations

from chassis.crypto import Keyring
from chassis.database import Database, utcnow
from contracts.errors import Conflict, Unavailable
from hub_adapter.port import Remote
from services.integrations.engine import calls
from services.integrations.engine.targets import Targets
from services.integrations.operations.inbound import Place


def look(db: Database, keyring: Keyring, place: Place, deadline_s: float) -> Remote | None:
    """Return a record as it stands at its target now, None if it is not there.

    Raises:
        Conflict: the connection cannot be used, or its target could not be asked.
        Unavailable: the database is away.
    """
    connection_id, entity, external_id = place
    with db.read() as session:
        try:
            target = Targets(keyring).load(session, connection_id)
        except Unavailable:
            raise
        except Exception as error:
            raise Conflict(f"The connection cannot be used: {type(error).__name__}") from error
    try:
        with target.calling(utcnow, deadline_s) as ctx:
            return target.adapter.get(ctx, entity, external_id)
    except Exception as error:
        raise Conflict(f"The target could not be asked: {calls.failed_with(target, error).text}") from error
    finally:
        target.replace()
