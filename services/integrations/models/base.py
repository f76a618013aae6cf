"""The declarative base, and the way to say a partial index once for both databases."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from chassis.database import NAMING


class Base(DeclarativeBase):
    """Every table of this service."""

    metadata = sa.MetaData(naming_convention=NAMING)


def one_of(column: str, values: Iterable[str]) -> sa.TextClause:
    """Return `column IN ('a', 'b')` as text: literals, because both planners match partial indexes by text."""
    return sa.text(f"{column} IN ({', '.join(repr(value) for value in values)})")


def partial(name: str, *columns: str, where: sa.TextClause, unique: bool = False) -> sa.Index:
    """Return an index over the rows that fulfil `where`."""
    return sa.Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)
