"""What a delivery costs, in statements and commits: of the batch, not of the delivery. And what a claim costs: nothing
that grows with what waits."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from chassis import telemetry
from chassis.database import Database, new_id, utcnow
from chassis.outbox import OUTBOX
from contracts.integrations import DELIVERY_SETTLED
from hub_adapter.port import Write, Written
from services.integrations.operations import claims, connections, intake, locks, slots
from services.integrations.operations.claims import Lease
from services.integrations.operations.outcomes import Outcome
from services.integrations.operations.settlements import settle
from services.integrations.queries import due, rounds
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually

log = telemetry.logger(__name__)


@contextmanager
def counted(db: Database) -> Iterator[dict[str, int]]:
    """Count statements and commits. To PostgreSQL a list of values goes one by one."""
    count = {"statements": 0, "commits": 0}

    def statement(_c: object, _cursor: object, text: str, values: object, *_: object) -> None:
        if not text.startswith(("BEGIN", "PRAGMA")):
            count["statements"] += len(values) if isinstance(values, list) and not db.is_sqlite else 1

    def commit(_c: object) -> None:
        count["commits"] += 1

    sa.event.listen(db.engine, "before_cursor_execute", statement)
    sa.event.listen(db.engine, "commit", commit)
    yield count
    sa.event.remove(db.engine, "before_cursor_execute", statement)
    sa.event.remove(db.engine, "commit", commit)


def one_turn(hub: Hub, connection_id: str, many: int) -> dict[str, int]:
    """Claim `many`, settle them, and count."""
    for _ in range(many):
        hub.tell("customers.customer.created", new_id(), wake=False, name="n")
    now = utcnow()
    with counted(hub.db) as count:
        with hub.db.write() as session:
            lease = Lease(owner="me", until=now + dt.timedelta(seconds=60))
            slots.room(session, locks.lock(session, [connection_id]).values(), now)
            jobs, _again = claims.claim(session, hub.keyring, [(connection_id, many)], lease, now)
        outcomes = [Outcome(job=job, started_at=now, ended_at=now, external_id=new_id()) for job in jobs]
        with hub.db.write() as session:
            settle(session, outcomes, now, lambda: 0.5, 5.0)
    assert len(jobs) == many
    return count


def test_a_batch_of_a_hundred_takes_as_many_statements_as_a_batch_of_one(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", max_in_flight=200)

    one, hundred = one_turn(hub, connection_id, 1), one_turn(hub, connection_id, 100)

    assert hundred["statements"] <= one["statements"] <= 18
    log.info("counted", statements_per_turn=hundred["statements"])


def test_pausing_and_resuming_write_their_connection_once_each(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    written = []

    def note(_connection: object, _cursor: object, text: str, *_: object) -> None:
        if text.startswith("UPDATE connection "):
            written.append(text)

    sa.event.listen(hub.db.engine, "before_cursor_execute", note)
    for change in (connections.pause, connections.resume):
        with hub.db.write() as session:
            change(session, {"id": connection_id, "reason": None}, by=ADMIN)
    sa.event.remove(hub.db.engine, "before_cursor_execute", note)

    assert len(written) == 2


@on_sqlite
def test_no_statement_of_a_turn_walks_over_a_whole_table(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", max_in_flight=200)
    asked: dict[str, Any] = {}

    def note(_connection: object, _cursor: object, text: str, values: Any, *_: object) -> None:
        asked[text] = values

    sa.event.listen(hub.db.engine, "before_cursor_execute", note)
    one_turn(hub, connection_id, 16)
    sa.event.remove(hub.db.engine, "before_cursor_execute", note)

    with hub.db.read() as session:
        run = session.connection().exec_driver_sql
        steps = [(row[3], text) for text, values in asked.items() if text.startswith(("SELECT", "UPDATE", "WITH"))
                 for row in run(f"EXPLAIN QUERY PLAN {text}", values)]
    assert [one for one in steps if re.match("SCAN (attempt|binding|delivery|record)", one[0])] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_deliveries_drain_with_a_fraction_of_a_commit_each(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 10_000
    brought: list[str] = []

    def write(_self: object, _ctx: object, _entity: str, cmd: Write) -> Written:
        brought.append(cmd.local_id)  # no network: what is measured is the engine
        return Written(external_id=f"x-{cmd.local_id}")

    monkeypatch.setattr("tests.support.fake_target.FakeAdapter.write", write)
    connection_id = hub.connect(target, "customer", max_in_flight=100)
    _accept(hub, connection_id, many)
    started = utcnow()
    with counted(hub.db) as count:
        hub.run()
        hub.engine.wake([connection_id])
        eventually(lambda: hub.ledger(connection_id).open == 0, 240, every_s=1.0)
    took = (utcnow() - started).total_seconds()

    log.info("counted", database=hub.db.engine.dialect.name, per_s=round(many / took),
             statements_each=count["statements"] / many, commits_each=count["commits"] / many)
    assert count["statements"] / many < 1
    assert count["commits"] / many < 0.1
    assert hub.ledger(connection_id).delivered == many
    assert sorted(brought) == sorted(f"c{n}" for n in range(many))


def _accept(hub: Hub, connection_id: str, many: int) -> None:
    """Accept many at once, as a backfill does: an event at a time would measure the broker's side."""
    now = utcnow()
    with hub.db.write() as session:
        hub.tell_rows(session, [(f"c{n}", {"id": f"c{n}", "name": f"客户 {n}"}) for n in range(many)])
        intake.add(session, [intake.plan(connection_id, "customer", f"c{n}", "upsert", 1, now) for n in range(many)])


def test_a_lone_change_waits_for_nobody(make_hub: Callable[..., Hub], target: FakeTarget) -> None:
    hub = make_hub(sweep_every_s=60.0)
    hub.connect(target, "customer")
    hub.run()
    hub.until(hub.customer(), "delivered")

    with counted(hub.db) as count:
        id = hub.customer()
        while not any(row.key == id for row in target.of("customer")):
            hub.quiet(0.001)

    # Intake, claim with the attempt, then the call: nothing else stands before the target has it.
    assert count["commits"] <= 3
    hub.until(id, "delivered")


# --- plans --------------------------------------------------------------------------------------------------------


def plan(hub: Hub, query: sa.Select[object]) -> str:
    with hub.db.write() as session:
        bound = query.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
        if hub.db.is_sqlite:
            return "\n".join(row[3] for row in session.execute(sa.text(f"EXPLAIN QUERY PLAN {bound}")))
        session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        session.execute(sa.text("SET LOCAL enable_bitmapscan = off"))
        return "\n".join(row[0] for row in session.execute(sa.text(f"EXPLAIN {bound}")))


def fill(hub: Hub, connection_id: str, many: int = 3000) -> None:
    """Make waiting rows of which few are due, and statistics that say so."""
    now = utcnow()
    with hub.db.write() as session:
        intake.add(session, [intake.plan(connection_id, "customer", f"c{n}", "upsert", 1, now + dt.timedelta(hours=n))
                             for n in range(many)])
    with hub.db.write() as session:
        session.execute(sa.text("ANALYZE"))


def test_a_claim_walks_along_its_index_and_sorts_nothing(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    fill(hub, connection_id)

    shown = plan(hub, due.claimable(connection_id, 0, utcnow(), 16))

    assert "ix_delivery_due" in shown
    assert "uq_delivery_lane_in_flight" in shown
    assert "uq_delivery_lane_waiting" in shown or "ix_delivery_record" in shown  # of each record there is one here
    assert "ix_delivery_lane_facts" in shown
    assert "SCAN delivery" not in shown
    assert "Seq Scan" not in shown
    assert "TEMP B-TREE" not in shown
    assert "Sort" not in shown


@pytest.mark.parametrize(("name", "query"), [
    ("ix_delivery_due", lambda c: rounds.due_connections(utcnow())),
    ("ix_delivery_doubt", lambda c: due.doubts_due(c, utcnow(), 50)),
    ("ix_delivery_lease", lambda c: due.expired_leases(utcnow(), (), 500)),
    ("ix_delivery_lease", lambda c: due.expired_leases(utcnow(), ("a", "b"), 500)),
    ("ix_delivery_lease", lambda c: due.expired_leases(utcnow(), ("a", "b"), 500, of=[c])),
    ("ix_delivery_blocked_due", lambda c: due.blocked_due(utcnow(), 500)),
    ("ix_delivery_blocked_due", lambda c: due.blocked_due(utcnow(), 500, of=[c])),
])
def test_what_is_asked_again_and_again_has_an_index(hub: Hub, target: FakeTarget, name: str, query: object) -> None:
    connection_id = hub.connect(target, "customer")
    fill(hub, connection_id)

    shown = plan(hub, query(connection_id))  # type: ignore[operator]

    assert name in shown, shown
    assert "SCAN delivery\n" not in f"{shown}\n"


def test_an_end_is_announced_to_whoever_listens(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    hub.until(hub.customer(), "delivered")

    with hub.db.read() as session:
        keys = list(session.scalars(sa.select(OUTBOX.c.routing_key)))
    assert keys == [DELIVERY_SETTLED.routing_key]
