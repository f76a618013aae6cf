"""Changing a versioned record: the optimistic lock, and a history of each of its fields."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from sqlalchemy import String
from sqlalchemy.orm import Mapped, Session, mapped_column

from chassis.database import Id, Json, UtcDateTime, new_id, utcnow
from chassis.outbox import Actor
from contracts.errors import StaleVersion


class FieldChangeColumns:
    """One field's change: before, after, who, when. Values of sealed fields are not kept, only that they changed."""

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    entity: Mapped[str] = mapped_column(String(20))
    record_id: Mapped[str] = mapped_column(Id)
    version: Mapped[int]
    field: Mapped[str] = mapped_column(String(40))
    before: Mapped[Any] = mapped_column(Json, nullable=True, default=None)
    after: Mapped[Any] = mapped_column(Json, nullable=True, default=None)
    changed_by: Mapped[str] = mapped_column(Id)
    changed_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utcnow)


class Versioned(Protocol):
    """A record with an optimistic lock; `version` rises by one with every change."""

    @property
    def version(self) -> int:
        """How often it has changed, and one."""
        ...


def check_version(record: Versioned, expected: int | None) -> None:
    """Refuse a change to a version that is no longer the newest; None asks for no particular one.

    Raises:
        StaleVersion: with the version that stands.
    """
    if expected is not None and record.version != expected:
        raise StaleVersion("The record has changed since you read it; read it again", version=record.version)


def apply(session: Session, kept_in: Callable[..., FieldChangeColumns], record: Any, changes: Mapping[str, Any],
          by: Actor, *, sealed: Collection[str] = ()) -> list[str]:
    """Set what differs, write the history and raise the version.

    Args:
        session: the transaction of the change.
        kept_in: the room's table of changes.
        record: a `Versioned` row, locked.
        changes: field → value; what is as it was counts for nothing.
        by: who changes it.
        sealed: fields whose history tells that they changed, not what they were.

    Returns:
        Names of the fields that changed; an empty list means that nothing was written.
    """
    changed = [name for name, value in changes.items() if getattr(record, name) != value]
    if not changed:
        return []
    record.version += 1
    record.updated_at = utcnow()
    for name in changed:
        kept = {} if name in sealed else {"before": _plain(getattr(record, name)), "after": _plain(changes[name])}
        session.add(kept_in(entity=record.__tablename__, record_id=record.id, version=record.version, field=name,
                            changed_by=by.id, **kept))
        setattr(record, name, changes[name])
    session.flush()
    return changed


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return value.isoformat() if isinstance(value, dt.datetime) else value
