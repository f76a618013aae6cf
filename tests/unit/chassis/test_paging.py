"""Pages by keyset: every row once, and cursors that nobody can forge or carry elsewhere."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.context import Subject
from chassis.database import Database, ExactDecimal, UtcDateTime
from chassis.paging import Order, Page, keyset_page
from contracts.errors import InvalidCursor


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "row"
    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str]
    at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    amount: Mapped[Decimal] = mapped_column(ExactDecimal)


class Box:
    """Hides, and knows its own."""

    def seal(self, text: str, purpose: str) -> str:
        return base64.urlsafe_b64encode(f"{purpose}:{text}".encode()).decode()

    def open(self, sealed: str, purpose: str) -> str:
        text = base64.urlsafe_b64decode(sealed.encode()).decode()
        if not text.startswith(f"{purpose}:"):
            raise ValueError
        return text.removeprefix(f"{purpose}:")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    Base.metadata.create_all(made.engine)
    noon = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
    with made.write() as session:
        session.add_all(Row(id=f"{n:02}", name=f"n{n % 3}", at=noon + dt.timedelta(seconds=n // 4),
                            amount=Decimal(n) / 8) for n in range(25))
    yield made
    made.close()


def page(db: Database, order: Order, limit: int, cursor: str | None, *, name: str = "rows", by: str = "a",
         **filters: Any) -> Page:
    asked = {"limit": limit, "cursor": cursor, **filters}
    with db.read() as session:
        return keyset_page(session, sa.select(Row), order, asked, Subject.service(by), Box(), name=name)


def pages(db: Database, order: Order, limit: int) -> list[list[str]]:
    found, cursor = [], None
    while True:
        page_of = page(db, order, limit, cursor)
        found.append([row.id for row in page_of.items])
        cursor = page_of.next
        if cursor is None:
            return found


@pytest.mark.parametrize("column", [Row.name, Row.at, Row.amount], ids=["text", "time", "amount"])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 4, 24, 25, 100])
def test_every_row_is_on_one_page_in_the_order_asked(db: Database, column: Any, descending: bool, limit: int) -> None:
    found = pages(db, Order(column, Row.id, descending), limit)
    with db.read() as session:
        rows = session.execute(sa.select(Row)).scalars().all()
    expected = sorted(rows, key=lambda row: (getattr(row, column.key), row.id), reverse=descending)
    assert [id for page in found for id in page] == [row.id for row in expected]
    assert all(len(page) == limit for page in found[:-1])


@pytest.mark.parametrize("cursor", ["", "x", "e30=", "Y3Vyc29yOltd", "Y3Vyc29yOjE="])
def test_a_cursor_that_we_did_not_make_is_refused(db: Database, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        page(db, Order(Row.at, Row.id), 2, cursor)


@pytest.mark.parametrize("other", [{"by": "b"}, {"name": "lines"}, {"state": "open"}, {"state": None}],
                         ids=["person", "list", "filter", "filter taken away"])
def test_a_cursor_of_another_list_or_person_is_refused(db: Database, other: dict[str, Any]) -> None:
    cursor = page(db, Order(Row.at, Row.id), 2, None, state="draft").next
    assert len(page(db, Order(Row.at, Row.id), 5, cursor, state="draft").items) == 5
    with pytest.raises(InvalidCursor):
        page(db, Order(Row.at, Row.id), 2, cursor, **{"state": "draft", **other})
