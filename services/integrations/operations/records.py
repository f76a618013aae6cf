"""Our sealed copy of a record: put it, open it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.crypto import Keyring, SealBroken
from services.integrations.models import Record
from services.integrations.operations.bulk import Upsert, excluded
from services.integrations.queries.statements import built_once, table_of

log = telemetry.logger(__name__)

_RECORD = table_of(Record)


def _risen(by: str, name: str) -> sa.ColumnElement[Any]:
    """Return what `name` becomes: what was brought if its `by` is the higher one, else what stands."""
    given = excluded(_RECORD.c[name])
    return sa.case((excluded(_RECORD.c[by]) > _RECORD.c[by], given), else_=_RECORD.c[name])


_KEPT = Upsert(_RECORD, changing={
    **{name: _risen("version", name) for name in ("version", "deleted", "seen_at", "state_sealed", "state_hash")},
    "routed_version": _risen("routed_version", "routed_version")})
HASHED = "record.state"
"""The column under whose key a state is hashed: equal states, equal hashes, and nothing can be guessed from one."""


@dataclass(frozen=True)
class Known:
    """What was known of a record before an event: its newest version, and the newest that travels; 0 for none."""

    version: int = 0
    routed: int = 0


def canonical(state: Mapping[str, Any]) -> str:
    """Return the one JSON text of a state."""
    return json.dumps(state, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def put(session: Session, keyring: Keyring, entity: str, id: str, version: int, state: Mapping[str, Any],
        now: dt.datetime, *, routed: bool, deleted: bool = False) -> Known:
    """Keep `state` unless a newer one is kept already; return what was known before.

    Args:
        session, keyring: the transaction, and the keys to seal with.
        entity, id, version, state: the record as the event tells it.
        now: when it was told.
        routed: whether this is a change on its way to the targets, and not just news of what is there.
        deleted: whether the change takes the record away: from now on it is to stand at no target.

    The row stays locked until the transaction ends, so that two events of one record are never applied side by side.
    """
    row = session.execute(*_known(entity, id)).first()
    known = Known(*row) if row else Known()
    if version > known.version or (routed and version > known.routed):
        text = canonical(state)
        _KEPT.put(session, [{
            "entity": entity, "id": id, "version": version, "routed_version": version if routed else known.routed,
            "deleted": deleted, "seen_at": now, "state_sealed": keyring.seal(text, _aad(entity, id)),
            "state_hash": keyring.blind(HASHED, text)}])
    return known


@built_once
def _known(entity: str, id: str) -> sa.Select[tuple[int, int]]:
    return (sa.select(_RECORD.c.version, _RECORD.c.routed_version)
            .where(_RECORD.c.entity == entity, _RECORD.c.id == id).with_for_update())


def changed_at(row: Any, state: Mapping[str, Any]) -> dt.datetime:
    """Return when a record was last changed, by its owner's clock; of one that does not tell, when it was told."""
    told = state.get("updated_at")
    return dt.datetime.fromisoformat(told) if told else row.seen_at


def opened(keyring: Keyring, row: Any) -> dict[str, Any] | None:
    """Return the state that a record row holds; None, and a line in the log, if it does not open.

    Then the row was changed or moved, or sealed with keys that are not ours.
    """
    try:
        state: dict[str, Any] = json.loads(keyring.open(row.state_sealed, _aad(row.entity, row.id)))
    except (SealBroken, ValueError) as error:
        log.error("record_unreadable", entity=row.entity, id=row.id, error=type(error).__name__)
        return None
    return state


def _aad(entity: str, id: str) -> str:
    return f"record|{entity}|{id}"
