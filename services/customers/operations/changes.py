"""Applying a change: the history of each field, the version, the time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.database import utcnow
from contracts.errors import StaleVersion
from services.customers.models import Contact, Customer, FieldChange, Task

SEALED = {"phone", "email", "wechat_id", "address", "description"}
"""Fields whose history tells that they changed, not what they were."""


def check_version(record: Customer | Contact | Task, expected: int) -> None:
    """Refuse a change to a version that is no longer the newest.

    Raises:
        StaleVersion: with the version that stands.
    """
    if record.version != expected:
        raise StaleVersion("The record has changed since you read it; read it again", version=record.version)


def apply(session: Session, record: Customer | Contact | Task, changes: Mapping[str, Any], by: Subject) -> list[str]:
    """Set what differs, write the history and raise the version.

    Returns:
        Names of the fields that changed; an empty list means that nothing was written.
    """
    changed = [name for name, value in changes.items() if getattr(record, name) != value]
    if not changed:
        return []
    record.version += 1
    record.updated_at = utcnow()
    for name in changed:
        kept = {} if name in SEALED else {"before": _plain(getattr(record, name)), "after": _plain(changes[name])}
        session.add(FieldChange(entity=record.__tablename__, record_id=record.id, version=record.version, field=name,
                                changed_by=by.id, **kept))
        setattr(record, name, changes[name])
    session.flush()
    return changed


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return value.isoformat() if isinstance(value, dt.datetime) else value
