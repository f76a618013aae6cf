"""Which messages of webhooks have been taken in."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping

from sqlalchemy.orm import Session

from chassis.inbox import insert_if_absent
from services.integrations.models import Receipt
from services.integrations.operations.bulk import delete_some
from services.integrations.queries.statements import table_of

KEPT = dt.timedelta(hours=24)
"""How long a message is known again; an adapter refuses a stamp that is much younger than this already."""


def first_time(session: Session, connection_id: str, signed: Mapping[str, str], body: bytes, now: dt.datetime) -> bool:
    """Note that a message is taken in; return False if it was before.

    Args:
        signed: those of its headers that its signature vouches for; any other may differ in a message sent again.
    """
    return insert_if_absent(session, table_of(Receipt), connection_id=connection_id, digest=_digest(signed, body),
                            at=now)


def _digest(signed: Mapping[str, str], body: bytes) -> str:
    told = sorted(f"{name}:{value}" for name, value in signed.items())
    return hashlib.sha256("\n".join(told).encode() + b"\0" + body).hexdigest()


def forget(session: Session, now: dt.datetime) -> bool:
    """Forget some messages that came long ago; return whether there may be more."""
    return delete_some(session, table_of(Receipt), Receipt.at < now - KEPT)
