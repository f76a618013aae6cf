"""Our sealed copy of a record: put it, open it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.crypto import Keyring
from services.integrations.models import Record
from services.integrations.operations.bulk import Upsert, excluded
from services.integrations.queries.statements import built_once, table_of

_RECORD = table_of(Record)
_KEPT = Upsert(
    _RECORD, where=_RECORD.c.version < excluded(_RECORD.c.version),
    changing={name: excluded(_RECORD.c[name])
              for name in ("version", "deleted", "seen_at", "state_sealed", "state_hash")})
HASHED = "record.state"
"""The column under whose key a state is hashed: equal states, equal hashes, and nothing can be guessed from one."""


def canonical(state: Mapping[str, Any]) -> str:
    """Return the one JSON text of a state."""
    return json.dumps(state, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def put(session: Session, keyring: Keyring, entity: str, id: str, version: int, state: Mapping[str, Any],
        now: dt.datetime) -> int:
    """Keep `state` unless a newer one is kept already; return the version that was known before, 0 for none.

    The row stays locked until the transaction ends, so that two events of one record are never applied side by side.
    """
    known = session.execute(*_known(entity, id)).scalar_one_or_none() or 0
    if version > known:
        text = canonical(state)
        row = {"entity": entity, "id": id, "version": version, "deleted": False, "seen_at": now,
               "state_sealed": keyring.seal(text, _aad(entity, id)), "state_hash": keyring.blind(HASHED, text)}
        _KEPT.put(session, [row])
    return known


@built_once
def _known(entity: str, id: str) -> sa.Select[tuple[int]]:
    return sa.select(_RECORD.c.version).where(_RECORD.c.entity == entity, _RECORD.c.id == id).with_for_update()


def state_of(keyring: Keyring, row: Any) -> dict[str, Any]:
    """Return the state that a record row holds.

    Raises:
        SealBroken: the row was changed, moved, or sealed with keys that are not ours.
    """
    state: dict[str, Any] = json.loads(keyring.open(row.state_sealed, _aad(row.entity, row.id)))
    return state


def _aad(entity: str, id: str) -> str:
    return f"record|{entity}|{id}"
