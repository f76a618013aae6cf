"""A backfill brings a target what it lacks: once, behind the events, a few at a time, from where it was broken off."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import new_id, utcnow
from contracts.errors import Conflict, Invalid, InvalidTransition, StaleVersion
from services.integrations.domain.runs import UNFINISHED
from services.integrations.engine.runs import backfill
from services.integrations.models import Binding, Connection, Delivery, Finding, Record, Route, Run
from services.integrations.operations import claims, connections, findings, runs
from services.integrations.operations.claims import Lease
from services.integrations.operations.runs import LeaseLost, Step
from services.integrations.queries import rounds
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually

FRESH: dict[str, Any] = {"without_matching": True, "reason": "the target is empty"}


def put(hub: Hub, many: int, **state: Any) -> list[str]:
    """Put our copies of so many customers of which the targets were never told."""
    ids = sorted(new_id() for _ in range(many))
    with hub.db.write() as session:
        hub.tell_rows(session, [(id, {"id": id, "name": id, **state}) for id in ids])
    return ids


def bind(hub: Hub, target: FakeTarget, connection_id: str, local_id: str, acked: int) -> None:
    """Have a record stand there in a version."""
    there = target.put("customer", local_id, {}, source_version=acked)
    with hub.db.write() as session:
        session.add(Binding(connection_id=connection_id, entity="customer", local_id=local_id, acked_version=acked,
                            external_id=there.id, state="bound", create_key=local_id))


def take(hub: Hub, owner: str = "me", *, lease_s: float = 60.0) -> runs.Taken:
    """Lease the one run that is due."""
    now = utcnow()
    with hub.db.write() as session:
        [taken] = runs.claim(session, 9, Lease(owner=owner, until=now + dt.timedelta(seconds=lease_s)), now)
    return taken


def page(hub: Hub, taken: runs.Taken) -> runs.Taken | None:
    """Go on with one page, as the runner does."""
    return hub.engine.runner.page(taken)


def test_every_record_that_a_target_lacks_or_has_older_is_brought_there_once(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    lacking, current, older, gone = put(hub, 4)
    under_way = hub.customer()
    bind(hub, target, connection_id, current, acked=1)
    bind(hub, target, connection_id, older, acked=0)
    with hub.db.write() as session:
        session.execute(sa.update(Record).where(Record.id == gone).values(deleted=True))
    run = hub.start_run(connection_id, "backfill", **FRESH)
    hub.start(hub.engine.runner)

    done = hub.until_run(run, "completed")

    assert done.counts == {"accepted": 2, "deleted": 1, "seen": 5, "under_way": 1, "up_to_date": 1}
    assert (done.total, done.percent, done.ended_at is not None) == (5, 100.0, True)
    assert hub.ledger(connection_id).accepted == 3
    hub.run()
    for id in (lacking, older, under_way):
        hub.until(id, "delivered")
    assert [row.origin for row in hub.deliveries(lacking)] == ["backfill"]
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_a_second_backfill_finds_nothing_to_do_and_needs_no_option(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    put(hub, 3)
    hub.run()
    hub.start(hub.engine.runner)
    hub.until_run(hub.start_run(connection_id, "backfill", **FRESH), "completed")
    eventually(lambda: hub.ledger(connection_id).delivered == 3)
    again = hub.until_run(hub.start_run(connection_id, "backfill"), "completed")
    assert again.counts == {"seen": 3, "up_to_date": 3}
    assert hub.ledger(connection_id).accepted == 3


@pytest.fixture
def of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of two records, of which at most four wait."""
    monkeypatch.setattr(backfill, "PAGE", 2)
    monkeypatch.setattr(backfill, "WAITING_MOST", 4)


@pytest.mark.usefixtures("of_two")
def test_no_more_than_so_many_wait_at_once(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    put(hub, 7)
    hub.start_run(connection_id, "backfill", **FRESH)
    first = take(hub)
    second = page(hub, first)
    assert second is not None
    third = page(hub, second)
    assert third is not None
    assert page(hub, third) is None  # four wait: it is let go until there is room
    [run] = hub.rows(Run)
    assert (run.state, run.counts["accepted"], run.lease_owner) == ("running", 4, None)
    hub.run()
    hub.start(hub.engine.runner)
    hub.until_run(run.id, "completed")
    eventually(lambda: hub.ledger(connection_id).delivered == 7)


@pytest.mark.usefixtures("of_two")
def test_a_run_whose_worker_is_gone_goes_on_from_its_last_page(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    ids = put(hub, 3)
    hub.start_run(connection_id, "backfill", **FRESH)
    stalled = take(hub, lease_s=-1)
    next_page = page(hub, stalled)
    assert next_page is not None
    with hub.db.write() as session:  # its process stands still until the lease has ended
        session.execute(sa.update(Run).values(lease_until=utcnow() - dt.timedelta(seconds=1)))
    other = take(hub, "another")
    assert other.position == {"after": ids[1]}
    with pytest.raises(LeaseLost):
        page(hub, next_page)
    assert hub.ledger(connection_id).accepted == 2
    page(hub, other)
    [run] = hub.rows(Run)
    assert (run.state, run.counts) == ("completed", {"accepted": 3, "seen": 3})
    assert [len(hub.deliveries(id)) for id in ids] == [1, 1, 1]


@on_sqlite
@pytest.mark.usefixtures("of_two")
def test_what_is_cancelled_stops_where_it_is_and_a_page_in_hand_is_not_recorded(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    put(hub, 5)
    run = hub.start_run(connection_id, "backfill", **FRESH)
    second = page(hub, take(hub))
    assert second is not None
    with hub.db.write() as session:
        runs.cancel(session, {"id": run}, utcnow(), by=ADMIN)
    with pytest.raises(LeaseLost):
        page(hub, second)
    assert hub.ledger(connection_id).accepted == 2
    with hub.db.write() as session, pytest.raises(InvalidTransition):
        runs.cancel(session, {"id": run}, utcnow(), by=ADMIN)
    assert hub.the_run(run).state not in UNFINISHED
    hub.start_run(connection_id, "backfill", **FRESH)  # the place is free again


def test_an_event_goes_before_all_that_a_backfill_has_waiting(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    waiting = put(hub, 3)
    hub.start_run(connection_id, "backfill", **FRESH)
    page(hub, take(hub))
    fresh, lease = hub.customer(), Lease(owner="me", until=utcnow() + dt.timedelta(seconds=60))

    def taken() -> list[str]:
        with hub.db.write() as session:
            jobs, _ = claims.claim(session, hub.keyring, [(connection_id, 2)], lease, utcnow(), {connection_id})
        return sorted(job.local_id for job in jobs)

    assert taken() == sorted([fresh, waiting[0]])
    with hub.db.read() as session:
        assert rounds.due(session, utcnow()).background == {connection_id}


@on_sqlite
def test_an_event_of_a_record_takes_the_place_of_what_the_backfill_has_waiting(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    [id] = put(hub, 1)
    hub.start_run(connection_id, "backfill", **FRESH)
    page(hub, take(hub))
    hub.customer(2, id)
    assert [(row.state, row.origin, row.priority) for row in hub.deliveries(id)] == [
        ("superseded", "backfill", 1), ("pending", "event", 0)]
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_whoever_has_not_consented_is_not_even_accepted(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "contact", adapter="two_way")
    granted, silent = hub_contact(hub, "granted"), hub_contact(hub, "")
    run = hub.start_run(connection_id, "backfill", "contact", **FRESH)
    page(hub, take(hub))
    assert hub.the_run(run).counts == {"accepted": 1, "seen": 2, "withheld": 1}
    assert (hub.states(granted), hub.states(silent)) == (["pending"], [])


def hub_contact(hub: Hub, said: str) -> str:
    """Let the hub know of a contact without telling any target."""
    id = new_id()
    consent = {"email": {"state": said}} if said else {}
    hub.tell("customers.contact.snapshot", id, 1, name="x", email="x@example.cn", consent=consent)
    return id


@on_sqlite
def test_a_run_waits_while_its_connection_is_paused_and_ends_when_its_route_does(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    put(hub, 1)
    run = hub.start_run(connection_id, "backfill", **FRESH)
    with hub.db.write() as session:
        connections.pause(session, {"id": connection_id, "reason": ""}, by=ADMIN)
    with hub.db.read() as session:
        assert not runs.any_due(session, utcnow())
    with hub.db.write() as session:
        connections.resume(session, {"id": connection_id}, by=ADMIN)
        session.execute(sa.update(Route).values(state="inactive"))
    hub.start(hub.engine.runner)
    ended = hub.until_run(run, "failed")
    assert ended.error == "no active route carries customer there any more"
    assert hub.rows(Delivery) == []


def _nothing(hub: Hub, connection_id: str) -> None:
    """Leave all as it is."""


def _inactive(hub: Hub, connection_id: str) -> None:
    with hub.db.write() as session:
        session.execute(sa.update(Route).values(state="inactive"))


def _pulling(hub: Hub, connection_id: str) -> None:
    with hub.db.write() as session:
        session.execute(sa.update(Route).values(direction="pull"))


def _running(hub: Hub, connection_id: str) -> None:
    hub.start_run(connection_id, "backfill", **FRESH)


@on_sqlite
@pytest.mark.parametrize(("before", "asked", "refusal", "said"), [
    (_inactive, FRESH, Conflict, "No active route"),
    (_pulling, FRESH, Conflict, "No active route"),
    (_nothing, {}, Conflict, "cannot be listed whole"),
    (_nothing, {"without_matching": True}, Invalid, "refused"),
    (_nothing, {"page": 7}, Invalid, "refused"),
    (_running, FRESH, Conflict, "is under way"),
])
def test_what_makes_no_sense_is_refused_with_what_to_do_first(
    hub: Hub, target: FakeTarget, before: Callable[[Hub, str], None], asked: dict[str, Any], refusal: type[Exception],
    said: str,
) -> None:
    connection_id = hub.connect(target, "customer")
    before(hub, connection_id)
    with pytest.raises(refusal, match=said):
        hub.start_run(connection_id, "backfill", **asked)


@on_sqlite
def test_records_that_nothing_could_be_matched_by_are_brought_without_asking_for_a_match(
    hub: Hub, target: FakeTarget
) -> None:
    listed = hub.connect(target, "customer", "order", adapter="fake_listed")
    with pytest.raises(Conflict, match="run a match over customer first"):
        hub.start_run(listed, "backfill")
    for connection_id in (listed, hub.connect(target, "order")):
        assert hub.the_run(hub.start_run(connection_id, "backfill", "order")).state == "pending"


@on_sqlite
def test_a_page_that_fails_in_our_own_code_is_tried_three_times_and_then_given_up(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    put(hub, 1)
    run = hub.start_run(connection_id, "backfill", **FRESH)
    with hub.db.write() as session:
        session.execute(sa.update(Connection).values(adapter="taken_away"))
    hub.start(hub.engine.runner)
    for failures in (1, 2):
        eventually(lambda failures=failures: hub.the_run(run).failures >= failures)
        with hub.db.write() as session:
            session.execute(sa.update(Run).values(due_at=utcnow()))
        hub.engine.runner.wake()
    assert hub.until_run(run, "failed").error == "UnknownAdapter"
    assert hub.connection(connection_id).health == "ok"


@on_sqlite
def test_a_run_that_asks_goes_on_once_its_number_is_confirmed(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    run, now = hub.start_run(connection_id, "backfill", **FRESH), utcnow()
    found = [findings.Found(kind="certain", local_id="c1", external_id="7", decision="link"),
             findings.Found(kind="doubtful", local_id="c2", candidates=["8", "9"],
                            detail={"ours": {"phone": "+8613800138000"}})]
    taken = take(hub)
    with hub.db.write() as session:
        assert runs.record(session, taken, Step(then="ask", findings=found), now, now) is None
    with hub.db.write() as session, pytest.raises(Conflict, match="would do 1, not 2"):
        runs.approve(session, {"id": run, "count": 2}, now, by=ADMIN)
    doubtful = hub.rows(Finding, Finding.kind == "doubtful")[0]
    asked = {"id": run, "finding_id": doubtful.id, "decision": "link", "external_id": None, "expected_version": 1}
    for wrong in ({}, {"external_id": "7"}, {"decision": "repair"}):
        with hub.db.write() as session, pytest.raises(Invalid):
            findings.decide(session, asked | wrong, by=ADMIN)
    with hub.db.write() as session, pytest.raises(StaleVersion):
        findings.decide(session, asked | {"expected_version": 2}, by=ADMIN)
    with hub.db.write() as session:
        decided = findings.decide(session, asked | {"external_id": "9"}, by=ADMIN)
        assert (decided["external_id"], "138001" in str(decided["detail"])) == ("9", False), "nobody notes who saw it"
        assert runs.approve(session, {"id": run, "count": 2}, now, by=ADMIN).approved_by == ADMIN.id
    assert take(hub).approved_by == ADMIN.id
