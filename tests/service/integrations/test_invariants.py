"""The engine's invariants, each with somebody trying to break it."""

from __future__ import annotations

import datetime as dt
import time

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.database import new_id, utcnow
from services.integrations.domain.deliveries import IllegalStep
from services.integrations.models import Attempt, Binding, Connection, Delivery, LedgerRow
from services.integrations.operations import claims, connections, intake, probes, replays, settlements, sweeps
from services.integrations.operations.claims import Lease
from services.integrations.operations.jobs import Job
from services.integrations.operations.leases import Move, write_back
from services.integrations.operations.outcomes import Failed, Outcome
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.support.fake_target import FakeTarget


def take(hub: Hub, connection_id: str, owner: str = "me", *, limit: int = 50, lease_s: float = 60,
         background: bool = False) -> list[Job]:
    now = utcnow()
    with hub.db.write() as session:
        lease = Lease(owner=owner, until=now + dt.timedelta(seconds=lease_s))
        return claims.claim(session, hub.keyring, [(connection_id, limit)], lease, now,
                            {connection_id} if background else ())[0]


def look(hub: Hub, connection_id: str) -> Job:
    """Lease the look-up that is due."""
    now = utcnow()
    with hub.db.write() as session:
        [job] = probes.claim(session, connection_id, 5, Lease(owner="me", until=now + dt.timedelta(seconds=60)), now)
    return job


def outcome(job: Job, **result: object) -> Outcome:
    now = utcnow()
    return Outcome(job=job, started_at=now, ended_at=now, can_find=True, honours_key=True, **result)  # type: ignore[arg-type]


def settle(hub: Hub, *outcomes: Outcome) -> None:
    with hub.db.write() as session:
        settlements.settle(session, outcomes, utcnow(), lambda: 0.5, 5.0)


def transient(job: Job) -> Outcome:
    return outcome(job, failed=Failed(kind="transient", message="down"))


# --- 1 ------------------------------------------------------------------------------------------------------------


def test_the_database_refuses_a_second_delivery_of_a_lane_in_flight(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    take(hub, connection_id)
    hub.customer(2, id)

    with pytest.raises(IntegrityError), hub.db.write() as session:
        session.execute(sa.update(Delivery).where(Delivery.state == "pending").values(state="in_doubt"))

    assert hub.states(id) == ["leased", "pending"]


def test_a_newer_version_is_not_claimed_while_an_older_one_is_on_the_wire(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    assert len(take(hub, connection_id)) == 1
    hub.customer(2, id)

    assert take(hub, connection_id, "another process") == []


# --- 2 ------------------------------------------------------------------------------------------------------------


def test_the_database_refuses_a_second_waiting_upsert_of_a_lane(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()

    with pytest.raises(IntegrityError), hub.db.write() as session:
        intake.add(session, [intake.plan(connection_id, "customer", id, "upsert", 9, utcnow())])


def test_a_newer_version_replaces_a_waiting_one_and_goes_on_with_its_back_off(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    settle(hub, transient(take(hub, connection_id)[0]))
    [waiting] = hub.deliveries(id)

    hub.customer(2, id)

    old, new = hub.deliveries(id)
    assert (old.state, old.superseded_by) == ("superseded", new.id)
    assert (new.state, new.attempts, new.due_at) == ("retry_wait", 1, waiting.due_at)
    assert hub.ledger(connection_id).balanced


def test_a_failed_version_yields_to_the_newer_one_that_waits_and_hands_it_the_back_off(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    [job] = take(hub, connection_id)
    hub.customer(2, id)

    settle(hub, transient(job))

    old, new = hub.deliveries(id)
    assert (old.state, old.superseded_by) == ("superseded", new.id)
    assert (new.state, new.attempts) == ("retry_wait", 1)
    assert new.due_at > utcnow() + dt.timedelta(seconds=3)


def test_a_dead_version_does_not_stand_in_the_way_of_the_next(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    settle(hub, outcome(take(hub, connection_id)[0], failed=Failed(kind="invalid", message="no", field="/phone")))

    hub.customer(2, id)

    dead, new = hub.deliveries(id)
    assert (dead.state, dead.last_error) == ("dead", "/phone: no")
    assert (new.state, new.attempts) == ("pending", 0)
    assert len(take(hub, connection_id)) == 1


def test_a_fact_stops_behind_a_dead_one_and_is_never_coalesced(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    now = utcnow()
    with hub.db.write() as session:
        intake.add(session, [intake.plan(connection_id, "payment", "p", "append", n, now) for n in (1, 2)])
    first, second = hub.deliveries("p")
    assert [job.delivery_id for job in take(hub, connection_id)] == [first.id]
    with hub.db.write() as session:
        session.execute(sa.update(Delivery).where(Delivery.id == first.id).values(state="dead", lease_until=None))

    assert take(hub, connection_id) == []
    assert hub.deliveries("p")[1].id == second.id


@pytest.mark.parametrize("by_run", [False, True])
def test_a_dead_fact_that_is_sent_again_takes_its_place_before_those_that_wait_for_it(
    hub: Hub, target: FakeTarget, by_run: bool
) -> None:
    connection_id = hub.connect(target, "customer")
    now = utcnow()
    with hub.db.write() as session:
        intake.add(session, [intake.plan(connection_id, "payment", "p", "append", n, now) for n in (1, 2)])
    first, second = hub.deliveries("p")

    def again(id: str) -> str:
        with hub.db.write() as session:
            if by_run:
                replays.send_again(session, connection_id, [id], utcnow())
            else:
                replays.retry(session, {"id": id}, utcnow(), by=ADMIN)
        [in_its_place] = hub.rows(Delivery, Delivery.replay_of == id)
        return str(in_its_place.id)

    dead = first.id
    for _ in range(2):
        assert [job.delivery_id for job in take(hub, connection_id, background=by_run)] == [dead]
        with hub.db.write() as session:
            session.execute(sa.update(Delivery).where(Delivery.id == dead).values(state="dead", lease_until=None))
        assert take(hub, connection_id, background=by_run) == []
        before, dead = dead, again(dead)
        assert again(before) == dead, "sent again once"
    [job] = take(hub, connection_id, background=by_run)
    assert job.delivery_id == dead
    settle(hub, outcome(job, external_id="1"))
    assert [job.delivery_id for job in take(hub, connection_id, background=by_run)] == [second.id]


# --- 3 ------------------------------------------------------------------------------------------------------------


def test_a_stale_event_is_accounted_for_and_never_sent(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer(5)
    hub.customer(4, id)

    assert hub.states(id) == ["pending", "skipped"]
    [job] = take(hub, connection_id)
    assert job.body["name"] == "v5"
    ledger = hub.ledger(connection_id)
    assert (ledger.accepted, ledger.skipped, ledger.open, ledger.balanced) == (2, 1, 1, True)


def test_an_acknowledged_version_never_falls_and_an_older_delivery_is_skipped(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer(3)
    [job] = take(hub, connection_id)
    settle(hub, outcome(job, external_id="1"))
    with hub.db.write() as session:
        session.execute(sa.update(Binding).values(acked_version=7))
        intake.add(session, [intake.plan(connection_id, "customer", id, "upsert", 3, utcnow())])

    assert take(hub, connection_id) == []

    assert hub.states(id) == ["delivered", "skipped"]
    assert hub.binding(id).acked_version == 7


def test_an_older_version_that_is_acknowledged_late_leaves_the_newer_one_standing(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer(3)
    [job] = take(hub, connection_id)
    with hub.db.write() as session:
        session.execute(sa.update(Binding).values(acked_version=7))

    settle(hub, outcome(job, external_id="1"))

    assert (hub.binding(id).state, hub.binding(id).acked_version) == ("bound", 7)


@on_sqlite
def test_a_record_that_is_made_anew_has_been_brought_no_version_yet(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer(3)
    settle(hub, outcome(take(hub, connection_id)[0], external_id="1"))
    with hub.db.write() as session:
        session.execute(sa.update(Binding).values(external_id=None, state="unbound"))
        intake.add(session, [intake.plan(connection_id, "customer", id, "upsert", 3, utcnow())])
    [job] = take(hub, connection_id)
    settle(hub, outcome(job, failed=Failed(kind="ambiguous", message="no answer")))

    hub.hurry(id)
    settle(hub, outcome(look(hub, connection_id), found="found", external_id="2"))

    [completing] = take(hub, connection_id)
    assert (completing.external_id, completing.adopted) == ("2", True)
    settle(hub, outcome(completing, external_id="2"))
    assert (hub.states(id), hub.binding(id).acked_version) == (["delivered", "delivered"], 3)


# --- 4 ------------------------------------------------------------------------------------------------------------


def test_a_worker_that_lost_its_lease_writes_nothing(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    [late] = take(hub, connection_id, "stopped", lease_s=-1)
    with hub.db.write() as session:
        sweeps.end_leases(session, (), utcnow(), lambda: 0.5)
    assert hub.states(id) == ["in_doubt"]

    settle(hub, outcome(late, external_id="77"))

    assert hub.states(id) == ["in_doubt"]
    assert hub.binding(id).external_id is None
    [attempt] = hub.attempts(id)
    assert attempt.outcome == "lost"


def test_an_old_fence_is_refused_though_the_row_is_leased_again(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    [late] = take(hub, connection_id)
    with hub.db.write() as session:
        session.execute(sa.update(Delivery).values(fence=Delivery.fence + 1))

    settle(hub, outcome(late, external_id="77"))

    assert hub.states(id) == ["leased"]


# --- 5 ------------------------------------------------------------------------------------------------------------


def test_the_attempt_is_open_in_the_database_before_the_call_is_made(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    target.fail(method="POST", delay_s=1.0)
    hub.run()
    id = hub.customer()

    while not target.calls("POST"):
        time.sleep(0.01)

    [attempt] = hub.attempts(id)
    assert (attempt.ended_at, attempt.n) == (None, 1)
    hub.until(id, "delivered")


def test_an_ended_lease_with_an_open_attempt_is_in_doubt_and_without_one_waits_again(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    called, uncalled = hub.customer(), hub.customer()
    take(hub, connection_id, lease_s=-1)
    with hub.db.write() as session:
        session.execute(sa.delete(Attempt).where(Attempt.delivery_id == hub_delivery(session, uncalled)))
        sweeps.end_leases(session, (), utcnow(), lambda: 0.5)

    assert hub.states(called) == ["in_doubt"]
    assert hub.states(uncalled) == ["pending"]


def hub_delivery(session: Session, local_id: str) -> str:
    return str(session.scalar(sa.select(Delivery.id).where(Delivery.local_id == local_id)))


# --- 6 ------------------------------------------------------------------------------------------------------------


@on_sqlite
def test_a_delivery_in_doubt_ends_neither_by_a_sweep_nor_by_being_sent_again_nor_by_an_answer_that_comes_late(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    [job] = take(hub, connection_id)
    settle(hub, outcome(job, failed=Failed(kind="ambiguous", message="no answer")))
    hub.hurry()

    with hub.db.write() as session:
        sweeps.end_leases(session, {"me"}, utcnow(), lambda: 0.5)
    assert take(hub, connection_id) == []
    settle(hub, outcome(job, external_id="77"))
    assert (hub.states(id), hub.binding(id).external_id) == (["in_doubt"], None)

    settle(hub, outcome(look(hub, connection_id), found="absent"))
    assert hub.states(id) == ["pending"]


# --- 7 ------------------------------------------------------------------------------------------------------------


def test_a_settled_delivery_never_changes(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    [job] = take(hub, connection_id)
    settle(hub, outcome(job, external_id="1"))
    before = vars(hub.deliveries(id)[0]).copy()

    settle(hub, outcome(job, failed=Failed(kind="invalid", message="too late")))

    after = vars(hub.deliveries(id)[0])
    assert {k: v for k, v in after.items() if k[0] != "_"} == {k: v for k, v in before.items() if k[0] != "_"}


def test_a_step_that_no_arrow_shows_is_refused(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.customer()
    [job] = take(hub, connection_id)
    wrong = Move(id=job.delivery_id, lane=job.lane, op="upsert", fence=job.fence, before="in_doubt", after="skipped",
                 due_at=utcnow(), attempts=0, deferrals=0)

    with pytest.raises(IllegalStep), hub.db.write() as session:
        write_back(session, [wrong], utcnow())


# --- 8 ------------------------------------------------------------------------------------------------------------


def test_pausing_changes_one_row_however_many_wait_and_uses_no_attempt(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    ids = [hub.customer() for _ in range(20)]
    statements: list[str] = []
    sa.event.listen(hub.db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    with hub.db.write() as session:
        connections.pause(session, {"id": connection_id, "reason": "maintenance"}, by=ADMIN)

    assert not [text for text in statements if "delivery" in text.split("WHERE")[0] and "UPDATE" in text]
    hub.run()
    hub.engine.wake([connection_id])
    hub.quiet(1.5)
    assert not target.seen[1:], "only the check has called"
    with hub.db.write() as session:
        connections.resume(session, {"id": connection_id}, by=ADMIN)
    hub.engine.wake([connection_id])
    for id in ids:
        hub.until(id, "delivered")
        assert hub.deliveries(id)[0].attempts == 0


LOSING = {
    "sqlite": ["CREATE TRIGGER losing BEFORE INSERT ON delivery BEGIN SELECT RAISE(IGNORE); END"],
    "postgresql": [
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER losing BEFORE INSERT ON delivery FOR EACH ROW EXECUTE FUNCTION lose()",
    ],
}
"""What makes a database drop each new delivery without a word."""


# --- 9 ------------------------------------------------------------------------------------------------------------


def test_the_ledger_shows_a_row_that_somebody_deleted(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    for _ in range(3):
        hub.customer()
    assert hub.ledger(connection_id).balanced

    with hub.db.write() as session:
        session.execute(sa.delete(Delivery).where(Delivery.id == sa.select(sa.func.min(Delivery.id)).scalar_subquery()))

    ledger = hub.ledger(connection_id)
    assert (ledger.accepted, ledger.open, ledger.balanced) == (3, 2, False)


def test_the_ledger_shows_a_change_whose_delivery_was_never_written(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    with hub.db.write() as session:
        for statement in LOSING[session.get_bind().dialect.name]:
            session.execute(sa.text(statement))

    hub.customer()

    ledger = hub.ledger(connection_id)
    assert (ledger.accepted, ledger.open, ledger.balanced) == (1, 0, False)


def test_the_ledger_counts_what_was_rolled_up_before_it_was_pruned(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.customer()
    [job] = take(hub, connection_id)
    settle(hub, outcome(job, external_id="1"))
    with hub.db.write() as session:
        session.execute(sa.delete(Attempt))
        session.execute(sa.delete(Delivery))
        session.execute(sa.update(LedgerRow).values(delivered=LedgerRow.delivered + 1))

    ledger = hub.ledger(connection_id)
    assert (ledger.accepted, ledger.delivered, ledger.balanced) == (1, 1, True)


# --- 10 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "retry_wait", "blocked", "leased", "in_doubt"])
def test_whatever_is_not_final_is_found_again_without_anybody_saying_so(
    hub: Hub, target: FakeTarget, state: str
) -> None:
    hub.connect(target, "customer", "order")
    order, customer = new_id(), hub.customer(wake=False)
    hub.tell("sales.order.confirmed", order, wake=False, customer_id=customer, number="SO-1")
    _forget_in(hub, order, customer, state)

    hub.run()

    hub.until(order, "delivered", timeout_s=20)
    assert len(target.of("order")) == 1


def _forget_in(hub: Hub, order: str, customer: str, state: str) -> None:
    """Leave the order's delivery in `state`, as a process does that ends there."""
    long_ago = utcnow() - dt.timedelta(hours=1)
    values: dict[str, object] = {"state": state, "due_at": long_ago}
    if state == "blocked":
        values |= {"blocked_entity": "customer", "blocked_id": customer}
    if state in ("leased", "in_doubt"):
        values |= {"fence": 1, "lease_owner": "nobody", "lease_until": long_ago, "doubt_since": long_ago}
    with hub.db.write() as session:
        session.execute(sa.update(Delivery).where(Delivery.local_id == order).values(values))
        assert session.scalar(sa.select(Connection.desired_state)) == "active"
