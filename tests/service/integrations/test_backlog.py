"""A long backlog: what the engine does again and again reads no more rows the more deliveries wait."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import Database, new_id, utcnow
from services.integrations.domain.deliveries import EVENTS
from services.integrations.models import Binding, Delivery
from services.integrations.operations import claims, connections, intake, locks, slots, sweeps
from services.integrations.operations.claims import Lease
from services.integrations.operations.outcomes import Failed, Outcome
from services.integrations.operations.settlements import settle
from services.integrations.queries import due, lanes, rounds
from tests.service.integrations.conftest import ADMIN, Hub
from tests.support.fake_target import FakeTarget

FEW, MANY = 500, 5000
AT_ONCE = 16
MOST_GROWTH = 1.3
"""A tree of ten times as many rows is a level deeper at most."""
_ROWS_READ = "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables"


@contextmanager
def effort(db: Database) -> Iterator[list[int]]:
    """Gather what a database reads: rows on PostgreSQL, tens of steps of its virtual machine on SQLite."""
    spent: list[int] = []

    def rows_read(connection: Any) -> int:
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(_ROWS_READ)
            return int(cursor.fetchone()[0])

    def begins(connection: Any) -> None:
        spent.append(-rows_read(connection))  # of earlier transactions, not added to the table's own yet

    def ends(connection: Any) -> None:
        spent.append(rows_read(connection))

    heard = {"begin": begins, "commit": ends, "rollback": ends}
    if db.is_sqlite:
        with closing(db.engine.raw_connection()) as pooled:
            driver: Any = pooled.driver_connection
            driver.set_progress_handler(lambda: spent.append(1), 10)
        yield spent
        driver.set_progress_handler(None, 0)
    else:
        for name, hear in heard.items():
            sa.event.listen(db.engine, name, hear)
        yield spent
        for name, hear in heard.items():
            sa.event.remove(db.engine, name, hear)


def let_wait(hub: Hub, connection_id: str, many: int, *, counted: bool = True) -> None:
    """Accept so many deliveries, due at once, where as many records are bound; PostgreSQL has counted them, or not."""
    ids, now = [new_id() for _ in range(many)], utcnow()
    with hub.db.write() as session:
        hub.tell_rows(session, [(id, {"id": id, "name": "n"}) for id in ids])
        intake.add(session, [intake.plan(connection_id, "customer", id, "upsert", 1, now) for id in ids])
        session.execute(sa.insert(Binding), [
            {"connection_id": connection_id, "entity": "customer", "local_id": f"b{id}", "external_id": f"x{id}",
             "state": "bound", "create_key": id} for id in ids])
    if counted and not hub.db.is_sqlite:
        with hub.db.write() as session:
            session.execute(sa.text("ANALYZE"))


def turn(hub: Hub, connection_id: str, failed: Failed | None = None) -> None:
    """Claim as many as may be on the wire, and settle them."""
    now = utcnow()
    with hub.db.write() as session:
        lease = Lease(owner="me", until=now + dt.timedelta(seconds=60))
        slots.room(session, locks.lock(session, [connection_id]).values(), now)
        jobs, _again = claims.claim(session, hub.keyring, [(connection_id, AT_ONCE)], lease, now)
    assert len(jobs) == AT_ONCE
    ended: dict[str, Any] = {"started_at": now, "ended_at": now, "failed": failed}
    outcomes = [Outcome(job=job, external_id=None if failed else new_id(), **ended) for job in jobs]
    with hub.db.write() as session:
        settle(session, outcomes, now, lambda: 0.5, 5.0)


def turn_in_vain(hub: Hub, connection_id: str) -> None:
    """Claim as many, and let all of them wait again."""
    turn(hub, connection_id, Failed(kind="adapter_error", message="KeyError"))


def look_around(hub: Hub, connection_id: str) -> None:
    """Look for what is due and for what has been forgotten."""
    now = utcnow()
    with hub.db.read() as session:
        assert rounds.due(session, now).to_send == {connection_id}
        assert rounds.doubtful(session, now) == set()
    with hub.db.write() as session:
        assert sweeps.end_leases(session, {"nobody"}, now, lambda: 0.5) == 0
        assert sweeps.release_blocked(session, now) == (0, set())


def pause_and_resume(hub: Hub, connection_id: str) -> None:
    """Stop everything that waits, and let it go on."""
    for change in (connections.pause, connections.resume):
        with hub.db.write() as session:
            change(session, {"id": connection_id, "reason": None}, by=ADMIN)


def test_what_is_done_again_and_again_reads_no_more_the_more_waits(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", max_in_flight=AT_ONCE)
    spent: dict[str, list[int]] = {}
    for many in (FEW, MANY):
        let_wait(hub, connection_id, many)
        for work in (turn, look_around, pause_and_resume, turn_in_vain):
            work(hub, connection_id)
            with effort(hub.db) as count:
                work(hub, connection_id)
            spent.setdefault(work.__name__, []).append(sum(count))

    assert all(few > 0 for few, _many in spent.values())
    assert {name: both for name, both in spent.items() if both[1] > both[0] * MOST_GROWTH + AT_ONCE} == {}


def most_have_arrived(hub: Hub) -> None:
    """Settle seven of eight deliveries, in the midst of a drain, and count what there is."""
    with hub.db.write() as session:
        session.execute(sa.update(Delivery).where(sa.func.substr(Delivery.local_id, 36).not_in(["0", "1"])).values(
            state="delivered", settled_at=utcnow()))
    with hub.db.write() as session:
        session.execute(sa.text("ANALYZE"))


@pytest.mark.parametrize("counted", [False, True], ids=["not-counted", "counted"])
def test_a_claim_walks_along_no_backlog_whether_postgresql_has_counted_it_or_not(
    hub: Hub, target: FakeTarget, *, counted: bool
) -> None:
    connection_id = hub.connect(target, "customer", max_in_flight=AT_ONCE)
    spent = []
    for many in (FEW, 4 * MANY):
        let_wait(hub, connection_id, many, counted=False)
        if counted:
            most_have_arrived(hub)
        with effort(hub.db) as count, hub.db.write() as session:
            taken = session.execute(due.claimable(connection_id, EVENTS, utcnow(), AT_ONCE)).all()
        assert len(taken) == AT_ONCE
        spent.append(sum(count))

    assert spent[1] <= spent[0] * MOST_GROWTH + AT_ONCE


def let_facts_wait_for_them(hub: Hub, connection_id: str) -> None:
    """Accept a fact for each record that waits, blocked until that is there."""
    with hub.db.write() as session:
        ids, now = session.scalars(sa.select(Delivery.local_id).where(Delivery.entity == "customer")).all(), utcnow()
        intake.add(session, [intake.plan(connection_id, "payment", id, "append", 1, now) for id in ids])
        session.execute(sa.update(Delivery).where(Delivery.entity == "payment").values(
            state="blocked", blocked_entity="customer", blocked_id=Delivery.local_id))


LOOK_UPS = (lanes.waiting_upserts, lanes.waiting_deletes, lanes.blocked_on, lanes.in_flight, lanes.waiting,
            lanes.open_lanes, lanes.bindings)


def test_a_look_at_some_lanes_walks_along_no_backlog_that_postgresql_has_not_counted_yet(
        hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", max_in_flight=AT_ONCE)
    spent: dict[str, list[int]] = {}
    for many in (FEW, MANY):
        let_wait(hub, connection_id, many, counted=False)
        let_facts_wait_for_them(hub, connection_id)
        with hub.db.read() as session:
            some = [(connection_id, "customer", id) for id in session.scalars(
                sa.select(Delivery.local_id).order_by(Delivery.local_id).limit(AT_ONCE))]
        for look in LOOK_UPS:
            with effort(hub.db) as count, hub.db.write() as session:
                look(session, some)
            spent.setdefault(look.__name__, []).append(sum(count))

    assert sum(few for few, _many in spent.values()) > 0
    assert {name: both for name, both in spent.items() if both[1] > both[0] * MOST_GROWTH + AT_ONCE} == {}
