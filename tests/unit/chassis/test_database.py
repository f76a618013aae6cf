"""The two verbs, and column types that lose nothing, on SQLite."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import eventlet
import pytest
import sqlalchemy as sa

from chassis.database import Database, ExactDecimal, Json, UtcDateTime, after_commit, is_up, new_id, utcnow
from contracts.errors import Unavailable

META = sa.MetaData()
T = sa.Table("t", META, sa.Column("id", sa.String(36), primary_key=True), sa.Column("at", UtcDateTime),
             sa.Column("amount", ExactDecimal), sa.Column("more", Json))


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    META.create_all(made.engine)
    yield made
    made.close()


def put(db: Database, **values: Any) -> Any:
    with db.write() as session:
        session.execute(T.insert().values(id=values.pop("id", None) or new_id(), **values))
    with db.read() as session:
        return session.execute(sa.select(T).order_by(T.c.id.desc())).first()


def test_an_instant_comes_back_in_utc_and_a_naive_one_is_refused(db: Database) -> None:
    at = dt.datetime(2026, 11, 22, 16, tzinfo=dt.timezone(dt.timedelta(hours=8)))
    assert put(db, at=at).at == at
    assert put(db, at=at).at.tzinfo is dt.UTC
    with pytest.raises(sa.exc.StatementError, match="zone"):
        put(db, at=dt.datetime(2026, 11, 22))  # noqa: DTZ001 (that is the point)


@pytest.mark.parametrize("amount", ["0.0001", "-12345678901234.5678", "199"])
def test_an_amount_is_exact(db: Database, amount: str) -> None:
    assert put(db, amount=Decimal(amount)).amount == Decimal(amount)


def test_an_amount_that_would_be_rounded_is_refused(db: Database) -> None:
    with pytest.raises(sa.exc.StatementError, match="four decimals"):
        put(db, amount=Decimal("0.00001"))


def test_an_error_leaves_nothing_and_runs_no_hook(db: Database) -> None:
    ran: list[str] = []

    def fails() -> None:
        with db.write() as session:
            session.execute(T.insert().values(id="x"))
            after_commit(session, lambda: ran.append("hook"))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    with db.read() as session:
        assert session.execute(sa.select(T)).first() is None
    assert ran == []


def test_a_hook_runs_once_after_the_commit_and_may_open_a_session(db: Database) -> None:
    seen: list[int] = []

    def hook() -> None:
        with db.read() as session:
            seen.append(session.execute(sa.select(sa.func.count()).select_from(T)).scalar_one())

    with db.write() as session:
        after_commit(session, hook)
        after_commit(session, hook)
        session.execute(T.insert().values(id="x"))
    assert seen == [1]


def test_sessions_do_not_nest(db: Database) -> None:
    with db.read(), pytest.raises(RuntimeError, match="open already"), db.read():
        pass
    assert is_up(db)


def test_greenlets_wait_for_each_other_and_every_write_stands(db: Database) -> None:
    def one(_: int) -> None:
        with db.write() as session:
            session.execute(T.insert().values(id=new_id(), at=utcnow()))
            eventlet.sleep(0.001)

    list(eventlet.GreenPool(30).imap(one, range(30)))
    with db.read() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(T)).scalar_one() == 30


def test_a_missing_table_is_a_mistake_and_not_an_absent_database(db: Database) -> None:
    with pytest.raises(sa.exc.OperationalError, match="no such table"), db.read() as session:
        session.execute(sa.text("SELECT * FROM nowhere"))


def test_a_file_that_cannot_be_opened_is_an_absent_database(tmp_path: Path) -> None:
    gone = Database(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.sqlite'}")
    assert not is_up(gone)
    with pytest.raises(Unavailable), gone.write():
        pass


def test_ids_sort_by_time_of_creation() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
