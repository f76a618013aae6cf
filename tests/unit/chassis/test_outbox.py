"""The outbox and the inbox as tables: leases, back-off, resend, dedupe."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import time_machine
from marshmallow import fields
from sqlalchemy.orm import ORMExecuteState

from chassis import inbox, outbox
from chassis.database import CHASSIS, Database, new_id, utcnow
from chassis.outbox import OUTBOX
from contracts.event import EventType
from contracts.schema import Record


class Data(Record):
    n = fields.Integer()


EVENT = EventType("shop", "sale.made", "sale", Data)
NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


class _By:
    id = "u-1"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    CHASSIS.create_all(made.engine, tables=[OUTBOX, inbox.INBOX])
    yield made
    made.close()


def announce(db: Database, count: int = 1) -> list[str]:
    with db.write() as session:
        return [outbox.record(session, EVENT, subject=new_id(), version=1, data={"n": n}, by=_By())
                for n in range(count)]


def claimed(db: Database, owner: str, limit: int = 100) -> list[str]:
    with db.write() as session:
        return [row.id for row in outbox.claim(session, owner, limit)]


def test_an_event_is_there_only_if_its_transaction_commits(db: Database) -> None:
    def fails() -> None:
        with db.write() as session:
            outbox.record(session, EVENT, subject="s", version=1, data={"n": 1}, by=_By())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert claimed(db, "a") == []


def test_a_row_is_claimed_by_one_relay_until_its_lease_runs_out(db: Database) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        ids = announce(db, 3)
        assert claimed(db, "a", 2) == ids[:2]
        assert claimed(db, "b") == ids[2:]
        clock.shift(outbox.LEASE_S - 1)
        assert claimed(db, "b") == []
        clock.shift(2)
        assert claimed(db, "b") == ids


def test_a_sent_event_is_not_claimed_and_a_refused_one_later_and_later(db: Database) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        sent, refused = announce(db, 2)
        assert len(claimed(db, "a")) == 2
        with db.write() as session:
            outbox.mark_sent(session, [sent], published_at=utcnow())
        waits = []
        for _ in range(8):
            with db.write() as session:
                outbox.put_back(session, {refused: "no queue"})
            before = utcnow()
            while not claimed(db, "a"):
                clock.shift(1)
            waits.append((utcnow() - before).total_seconds())
    assert waits[:5] == [2, 4, 8, 16, 32]
    assert max(waits) == 60


def test_a_resend_makes_sent_events_of_the_window_due_again(db: Database) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        old, = announce(db)
        clock.shift(3600 * 5)
        new, = announce(db)
        with db.write() as session:
            outbox.mark_sent(session, [old, new], published_at=utcnow())
        since = outbox.window_start(4)
        assert sum(outbox.resending(db, since=since, exchange="elsewhere.events")) == 0
        assert sum(outbox.resending(db, since=since, routing_keys=["sale.made"])) == 1
        assert claimed(db, "a") == [new]


def test_a_resend_goes_page_by_page_over_every_event_once(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "RESEND_PAGE", 4)
    with time_machine.travel(NOON, tick=False) as clock:
        ids = announce(db, 7)  # of one instant, so that ids must tell the pages apart
        clock.shift(1)
        ids += announce(db, 3)
        with db.write() as session:
            outbox.mark_sent(session, ids, published_at=utcnow())
        pages = outbox.resending(db, since=NOON)
        assert next(pages) == 4
        assert claimed(db, "a") == ids[:4]  # and whoever stops here begins again
        assert list(pages) == [4, 2]
        assert claimed(db, "b") == ids[4:]


def test_what_is_asked_for_again_between_its_publishing_and_its_mark_is_sent_again(db: Database) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        id, = announce(db)
        assert claimed(db, "a") == [id]
        published_at = utcnow()
        clock.shift(1)
        assert sum(outbox.resending(db, since=NOON)) == 1
        with db.write() as session:
            outbox.mark_sent(session, [id], published_at=published_at)
        assert claimed(db, "b") == [id]


def test_events_published_one_after_another_are_marked_together_but_for_those_asked_for_again(db: Database) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        first, = announce(db)
        published_at = utcnow()
        clock.shift(1)
        second, third = announce(db, 2)
        assert claimed(db, "a") == [first, second, third]
        clock.shift(1)
        assert sum(outbox.resending(db, since=NOON + dt.timedelta(seconds=1))) == 2
        clock.shift(1)
        fourth, = announce(db)
        with db.write() as session:
            outbox.mark_sent(session, [first, second, third, fourth], published_at=published_at)
        assert claimed(db, "b") == [second, third]


def test_the_age_of_the_oldest_unsent_event_is_known(db: Database) -> None:
    with time_machine.travel(NOON, tick=False) as clock, db.write() as session:
        assert outbox.oldest_unsent(session) is None
        clock.shift(1)
        outbox.record(session, EVENT, subject="s", version=1, data={"n": 1}, by=_By())
        assert outbox.oldest_unsent(session) == NOON + dt.timedelta(seconds=1)


def test_an_event_is_new_to_each_handler_once(db: Database) -> None:
    with db.write() as session:
        assert inbox.first_time(session, "e-1", "a")
        assert not inbox.first_time(session, "e-1", "a")
        assert inbox.first_time(session, "e-1", "b")

    def fails() -> None:
        with db.write() as session:
            assert inbox.first_time(session, "e-2", "a")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    with db.write() as session:
        assert inbox.first_time(session, "e-2", "a")  # its effect was rolled back, so it is new again


def test_a_row_without_process_is_free_at_once(db: Database) -> None:
    announce(db)
    with db.read() as session:
        assert session.execute(sa.select(OUTBOX.c.lease_owner)).scalar_one() is None


def test_postgresql_picks_the_rows_of_a_claim_once(db: Database) -> None:
    """As a plain sub-select they may be picked anew for each row, and so be more than the limit."""
    said: list[str] = []

    def listen(orm: ORMExecuteState) -> None:
        assert isinstance(orm.statement, sa.Update)
        said.append(str(orm.statement.compile(dialect=sa.create_mock_engine("postgresql://", print).dialect)))

    with db.write() as session:
        sa.event.listen(session, "do_orm_execute", listen)
        outbox.claim(session, "a", 5)
    picking, _, _ = said[0].partition("UPDATE outbox")
    assert picking.startswith("WITH free AS MATERIALIZED")
    assert "LIMIT" in picking
    assert "SKIP LOCKED" in picking
