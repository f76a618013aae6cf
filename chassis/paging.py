"""Pages by keyset: page 10,000 costs what page 1 does, and rows that change meanwhile are neither skipped nor repeated.

The cursor is the last row's sort key and id, sealed: a client can neither read it nor make one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.context import Subject
from contracts.errors import InvalidCursor

Query = TypeVar("Query", bound="sa.Select[Any]")


class Sealer(Protocol):
    """Seals a cursor and opens it again (`chassis.crypto.WireCodec`)."""

    def seal(self, text: str, purpose: str) -> str:
        """Return `text` as ciphertext."""
        ...

    def open(self, sealed: str, purpose: str) -> str:
        """Return what was sealed; ValueError if it was not us."""
        ...


@dataclass(frozen=True)
class Page:
    """Some records, and where the next ones begin; `next` is None at the end."""

    items: Sequence[Any]
    next: str | None


@dataclass(frozen=True)
class Order:
    """The order of a list.

    Attributes:
        by: the column; it must not be null, and together with `id` it needs an index.
        id: the table's id, which breaks ties.
        descending: newest or greatest first.
    """

    by: Any
    id: Any
    descending: bool = False

    @classmethod
    def asked(cls, sort: str, among: Mapping[str, Any], id: Any) -> Self:
        """Return the order by a name of `among`; with `-` before it, greatest first."""
        return cls(among[sort.removeprefix("-")], id, sort.startswith("-"))


def narrowed(query: Query, model: Any, asked: Mapping[str, Any], *names: str) -> Query:
    """Return `query` with a condition for each of `names`, columns of `model`, that the caller filters by."""
    for name in names:
        if asked.get(name):
            query = query.where(getattr(model, name) == asked[name])
    return query


def keyset_page(session: Session, query: sa.Select[Any], order: Order, asked: Mapping[str, Any], subject: Subject,
                sealer: Sealer, *, name: str) -> Page:
    """Return one page of `query`, which selects one entity.

    Args:
        session: to read with.
        query: filters and visibility applied, no order, no limit.
        order: one of the list's allowed orders.
        asked: `limit`, the most records of a page; `cursor`, as an earlier page gave it, or None for the first; and the
            filters and the sort of the list.
        subject: who asks.
        sealer: makes cursors opaque.
        name: of the list. A cursor belongs to it, to all else that is asked, and to the subject.

    Raises:
        InvalidCursor: not a cursor of this list.
    """
    limit, cursor = asked["limit"], asked["cursor"]
    scope = {**asked, "list": name, "for": subject.id}
    del scope["limit"], scope["cursor"]
    mark = hashlib.sha256(json.dumps(scope, sort_keys=True, default=str).encode()).hexdigest()[:16]
    by_id = order.by is order.id  # named twice, SQLite would not see that an index of (filter, id) is in this order
    if cursor is not None:
        key, last = _open(cursor, mark, sealer)
        bound = sa.bindparam(None, key, type_=order.by.type)
        place, pair = (order.id, last) if by_id else (sa.tuple_(order.by, order.id), sa.tuple_(bound, last))
        query = query.where(place < pair if order.descending else place > pair)
    way = sa.desc if order.descending else sa.asc
    query = query.order_by(way(order.id)) if by_id else query.order_by(way(order.by), way(order.id))
    rows = session.execute(query.limit(limit + 1)).scalars().all()
    if len(rows) <= limit:
        return Page(rows, None)
    last_row = rows[limit - 1]
    key = getattr(last_row, order.by.key)
    text = json.dumps([mark, *_written(key), last_row.id])
    return Page(rows[:limit], sealer.seal(text, "cursor"))


_READ: dict[str, Callable[[Any], Any]] = {
    "time": dt.datetime.fromisoformat, "decimal": Decimal, "plain": lambda key: key}


def _written(key: Any) -> tuple[str, Any]:
    if isinstance(key, dt.datetime):
        return "time", key.isoformat()
    return ("decimal", str(key)) if isinstance(key, Decimal) else ("plain", key)


def _open(cursor: str, mark: str, sealer: Sealer) -> tuple[Any, str]:
    try:
        seen, kind, key, last = json.loads(sealer.open(cursor, "cursor"))
        if seen != mark:
            raise ValueError("of another list")
        return _READ[kind](key), last
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidCursor("The cursor is not one of this list; start again without it") from error
