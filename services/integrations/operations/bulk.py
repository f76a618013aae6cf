"""Many rows in one statement, whose text does not depend on how many: the cost of a batch, not of its deliveries."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

Rows = Sequence[Mapping[str, Any]]
WAS = "was_"


def update_each(session: Session, table: sa.Table, rows: Rows, *, match: tuple[str, ...], where: str = "") -> set[str]:
    """Set each row's own values, where `match` columns are equal and `where` holds.

    Args:
        session: the transaction.
        table: what to change.
        rows: mappings with the same keys: the `match` columns, the columns to set, and under `was_<column>` what a
            column must still hold.
        match: columns that find the row; the first of them is returned.
        where: a further condition, trusted text.

    Returns:
        The first `match` column of every row that was changed.
    """
    if not rows:
        return set()
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    statement = _update(table, tuple(rows[0]), match, where, on_sqlite)
    return set(session.execute(statement, {"rows": as_json(rows, on_sqlite=on_sqlite), "many": len(rows)}).scalars())


@cache
def _update(table: sa.Table, columns: tuple[str, ...], match: tuple[str, ...], where: str,
            on_sqlite: bool) -> sa.TextClause:
    guards = tuple(c for c in columns if c.startswith(WAS))
    assigned = ", ".join(f"{c} = given.{c}" for c in columns if c not in match + guards)
    found = " AND ".join([f"{table.name}.{c} = given.{c}" for c in match]
                         + [f"{table.name}.{c.removeprefix(WAS)} = given.{c}" for c in guards])
    return sa.text(
        f"UPDATE {table.name} SET {assigned} FROM {_given(table, columns, on_sqlite)} "  # noqa: S608 (names of columns)
        f"WHERE {found}{f' AND {where}' if where else ''} RETURNING {table.name}.{match[0]}"
    )


def _given(table: sa.Table, columns: tuple[str, ...], on_sqlite: bool) -> str:
    if on_sqlite:
        taken = ", ".join(f"json_extract(value, '$.{c}') AS {c}" for c in columns)
        return f"(SELECT {taken} FROM json_each(:rows)) AS given"  # noqa: S608 (names of columns)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    types = ", ".join(f"{c} {table.c[c.removeprefix(WAS)].type.compile(dialect=dialect)}" for c in columns)
    # The planner is told how many: it takes them for a hundred, and reads a small table whole to find one.
    return f"(SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS one({types}) LIMIT :many) AS given"  # noqa: S608


def delete_some(session: Session, table: sa.Table, *where: Any, most: int = 500) -> bool:
    """Delete up to so many rows; return whether there may be more.

    SQLite takes no other writer meanwhile, so that what is long ends in many short transactions.
    """
    key = table.primary_key.columns
    some = sa.select(*key).where(*where).limit(most)
    gone = session.execute(sa.delete(table).where(sa.tuple_(*key).in_(some)).returning(*key)).all()
    return len(gone) == most


def as_json(rows: Iterable[Mapping[str, Any]], *, on_sqlite: bool) -> str:
    """Return `rows` with each time in the text form that the database keeps."""

    def as_text(value: Any) -> str:
        if isinstance(value, dt.datetime):
            moment = value.astimezone(dt.UTC)
            return moment.replace(tzinfo=None).isoformat(" ", "microseconds") if on_sqlite else moment.isoformat()
        raise TypeError(f"{type(value).__name__} has no place in a bulk statement")

    return json.dumps([dict(row) for row in rows], default=as_text, ensure_ascii=False)


class Upsert:
    """Inserts rows; where the primary key is taken, sets `changing` if `where` holds.

    In `changing` and `where`, `excluded(column)` stands for what was to be inserted. Made once, for any rows.
    """

    def __init__(self, table: sa.Table, *, changing: Mapping[str, Any],
                 where: sa.ColumnElement[bool] | None = None) -> None:
        on: dict[str, Any] = {"index_elements": list(table.primary_key), "set_": changing, "where": where}
        self._on_sqlite = sqlite.insert(table).on_conflict_do_update(**on)
        # Returning something, SQLAlchemy writes many rows into one statement; without, it sends each by itself.
        self._on_postgresql = postgresql.insert(table).on_conflict_do_update(**on).returning(*table.primary_key)

    def put(self, session: Session, rows: Rows) -> None:
        """Insert or change `rows`, mappings with the same keys."""
        if rows:
            on_sqlite = session.get_bind().dialect.name == "sqlite"
            session.execute(self._on_sqlite if on_sqlite else self._on_postgresql, list(rows))


def excluded(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return the value that an upsert brought for `column`."""
    return sa.literal_column(f"excluded.{column.name}", column.type)
