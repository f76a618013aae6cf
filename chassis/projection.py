"""Small copies of what other rooms own: fed by their events alone, and newest wins, in whatever order they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def keep_newest(session: Session, model: type[DeclarativeBase], key: Mapping[str, Any], version: int,
                values: Mapping[str, Any]) -> bool:
    """Keep a record as of `version`, unless a newer one is known; its row stays locked until the transaction ends.

    One statement decides, so that two events about one record, met at once by two workers, leave the newer.

    Args:
        session: the transaction of the event.
        model: has the primary key `key` and a column `version`.
        key: what the record is known by.
        version: of the record; it rises by itself with every change, no clock decides what is newer.
        values: the other columns.

    Returns:
        Whether it was news.
    """
    table: Any = model.__table__
    dialect: Any = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    told = dialect.insert(table).values(**key, version=version, **values)
    newer = told.on_conflict_do_update(
        index_elements=list(table.primary_key), where=table.c.version < told.excluded.version,
        set_={name: told.excluded[name] for name in ("version", *values)})
    return session.execute(newer.returning(table.c.version)).first() is not None
