"""The inbox: an event id is remembered in the transaction of its effect, so a repeated event has one effect."""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from chassis.database import CHASSIS, Id, UtcDateTime, now_of

INBOX = sa.Table(
    "inbox", CHASSIS,
    sa.Column("event_id", Id, primary_key=True),
    sa.Column("handler", sa.String(120), primary_key=True),
    sa.Column("received_at", UtcDateTime, nullable=False, index=True),
)


def insert_if_absent(session: Session, table: sa.Table, **values: Any) -> bool:
    """Insert a row unless its primary key is taken; on PostgreSQL this waits for a rival's transaction to end.

    Returns:
        Whether the row is new.
    """
    connection = session.connection()
    result: Any = connection.execute(_insert_if_absent(table, connection.dialect.name), values)
    return bool(result.rowcount == 1)


@cache
def _insert_if_absent(table: sa.Table, dialect: str) -> sa.Insert:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key))


def first_time(session: Session, event_id: str, handler: str) -> bool:
    """Remember that `handler` has met this event; return False if it had before."""
    return insert_if_absent(session, INBOX, event_id=event_id, handler=handler, received_at=now_of(session))


def newest() -> sa.Select[dt.datetime]:
    """Select when the newest event was taken in, by its index."""
    return sa.select(INBOX.c.received_at).order_by(INBOX.c.received_at.desc()).limit(1)


def prune(session: Session, *, before: dt.datetime, limit: int = 1000) -> int:
    """Forget up to `limit` event ids received before `before`."""
    old = sa.select(INBOX.c.event_id).where(INBOX.c.received_at < before).limit(limit)
    result: Any = session.execute(INBOX.delete().where(INBOX.c.event_id.in_(old), INBOX.c.received_at < before))
    return int(result.rowcount)
