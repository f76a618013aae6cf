"""A run that fails in some page loses nothing of the pages before, and keeps no other run waiting."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import utcnow
from contracts.errors import Conflict, Unavailable
from hub_adapter.port import Page, Remote
from services.integrations.adapters import registry
from services.integrations.engine import leaseholders
from services.integrations.engine.asking import CallFailed
from services.integrations.engine.runs import repeat
from services.integrations.models import (
    Connection,
    Finding,
    Listed,
    Run,
    Suspected,
)
from services.integrations.operations import runs
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_reconciling import MANY, World, take
from tests.support.fake_target import FakeTarget, ListedAdapter
from tests.support.processes import eventually


@pytest.fixture
def world(hub: Hub, target: FakeTarget) -> World:
    return World(hub, target)


@on_sqlite
@pytest.mark.parametrize("stuck_at", [None, "1"])
def test_a_list_that_breaks_off_or_stands_still_says_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, stuck_at: str | None
) -> None:
    def cut(self: Any, *args: Any) -> Page[Remote]:
        return Page(items=[], next_cursor=stuck_at, complete=False)

    monkeypatch.setattr(ListedAdapter, "list", cut)
    monkeypatch.setattr(runs, "BACK_OFF_S", 0.01)
    monkeypatch.setattr(leaseholders, "LOOK_EVERY_S", 0.05)
    world.watched()
    run = world.run()
    assert (run.state, world.found(run)) == ("failed", {})


@on_sqlite
def test_what_was_asked_of_a_page_is_kept_where_the_target_fails_in_the_midst_of_it(world: World) -> None:
    hub = world.hub
    for id in world.ids[:2]:
        world.edit(id)
    taken = take(hub, hub.start_run(world.connection_id, "reconcile"))
    while taken.phase != "asking":
        taken = hub.engine.runner.page(taken)
    first = hub.rows(Suspected)[0]
    fault = world.target.fail(method="GET", skip=1, status=503, times=10**6)
    taken = hub.engine.runner.page(taken)
    assert taken is not None
    assert [row.local_id for row in hub.rows(Finding)] == [first.local_id]
    with pytest.raises(CallFailed):
        hub.engine.runner.page(taken)
    fault.times = 0
    hub.engine.runner.page(taken)
    assert len(hub.rows(Finding)) == 2


@on_sqlite
def test_a_run_that_is_cancelled_in_the_midst_of_a_page_asks_the_target_nothing_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = world.hub
    for id in world.ids[:3]:
        world.edit(id)
    taken = take(hub, hub.start_run(world.connection_id, "reconcile"))
    while taken.phase != "asking":
        taken = hub.engine.runner.page(taken)
    get, asked = ListedAdapter.get, []

    def cancelling(self: Any, ctx: Any, entity: str, external_id: str) -> Remote | None:
        asked.append(external_id)
        with hub.db.write() as session:
            runs.cancel(session, {"id": taken.id}, utcnow(), by=ADMIN)
        return get(self, ctx, entity, external_id)

    monkeypatch.setattr(ListedAdapter, "get", cancelling)
    with pytest.raises(runs.LeaseLost):
        hub.engine.runner.page(taken)
    assert len(asked) == 1
    assert hub.the_run(taken.id).state == "cancelled"


@on_sqlite
def test_a_page_whose_target_is_slow_keeps_its_run_to_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three calls for one suspect, each just within its deadline, take longer than the lease."""
    hub = world.hub
    world.delete(world.ids[0])
    taken = take(hub, hub.start_run(world.connection_id, "reconcile"))
    while taken.phase != "asking":
        taken = hub.engine.runner.page(taken)
    moment, calls = [utcnow()], []

    def slow(name: str) -> None:
        answer = getattr(ListedAdapter, name)

        def called(*given: Any, **named: Any) -> Any:
            moment[0] += dt.timedelta(seconds=25)
            calls.append(name)
            thief = threading.Thread(target=others.start_due, daemon=True)
            thief.start()
            thief.join(30)
            return answer(*given, **named)

        monkeypatch.setattr(ListedAdapter, name, called)

    for name in ("get", "expected", "find"):
        slow(name)
    stolen: list[Any] = []
    monkeypatch.setattr(hub.engine.runner, "_clock", lambda: moment[0])
    others = hub.new_engine().runner
    monkeypatch.setattr(others, "_clock", lambda: moment[0])
    monkeypatch.setattr(others, "_work", stolen.append)

    assert hub.engine.runner.page(taken) is not None

    assert calls == ["get", "expected", "find"]
    assert stolen == []
    assert [row.kind for row in hub.rows(Finding)] == ["missing_remote"]


@on_sqlite
def test_a_run_killed_between_two_pages_goes_on_where_it_was_and_finds_the_same(world: World) -> None:
    hub = world.hub
    world.edit(world.ids[0])
    world.double(world.ids[1])
    taken = take(hub, hub.start_run(world.connection_id, "reconcile"))
    for _ in range(3):
        taken = hub.engine.runner.page(taken)
    hub.engine.runner.page(taken)  # another process takes it from here, as if its lease had ended
    with hub.db.write() as session:
        session.execute(sa.update(Run).values(lease_until=utcnow() - dt.timedelta(seconds=1)))
    late, taken = taken, take(hub, taken.id)
    with pytest.raises(runs.LeaseLost):
        hub.engine.runner.page(late)
    while taken is not None:
        taken = hub.engine.runner.page(taken)
    assert sorted(row.kind for row in hub.rows(Finding)) == ["duplicate_remote", "mismatch"]
    assert hub.the_run(late.id).counts["listed"] == MANY + 1


@on_sqlite
def test_a_run_is_started_again_when_its_time_has_come_and_what_it_kept_is_forgotten(world: World) -> None:
    hub = world.hub
    world.watched()
    first = world.run(every_h=1)
    assert first.next_run_at is not None
    with hub.db.write() as session:
        session.execute(sa.update(Run).values(next_run_at=utcnow()))
    hub.engine.runner.wake()
    eventually(lambda: [run.state for run in hub.rows(Run)] == ["completed"] * 2, 30)
    [old, new] = hub.rows(Run)
    assert (old.next_run_at, new.options, new.created_by) == (None, first.options, first.created_by)
    assert new.next_run_at is not None
    hub.engine.pruner.prune()
    assert (hub.rows(Listed), hub.rows(Suspected)) == ([], [])


@on_sqlite
@pytest.mark.parametrize("adapter", ["not_installed", "broken"])
def test_a_run_that_cannot_be_repeated_as_its_adapter_is_missing_keeps_no_other_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch, adapter: str
) -> None:
    monkeypatch.setitem(registry.OURS, "broken", f"{__name__}:nothing_of_the_kind")
    hub, lost = world.hub, world.connection_id
    first = hub.start_run(lost, "reconcile", every_h=1)
    with hub.db.write() as session:
        taken = session.get_one(Run, first)
        taken.state, taken.next_run_at = "completed", utcnow()
        session.get_one(Connection, lost).adapter = adapter

    with pytest.raises(Conflict, match=adapter):
        hub.start_run(lost, "reconcile")
    other = hub.start_run(hub.connect(world.target, "customer", adapter="fake_listed"), "reconcile")
    world.watched()

    hub.until_run(other, "awaiting_approval")
    [late] = hub.rows(Run, Run.connection_id == lost)
    assert late.next_run_at is not None
    assert late.next_run_at > utcnow()


@on_sqlite
def test_a_run_whose_start_fails_for_whatever_reason_leaves_nothing_and_keeps_no_other_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, lost = world.hub, world.connection_id
    other = hub.connect(world.target, "customer", adapter="fake_listed")
    due = [hub.start_run(connection_id, "reconcile", every_h=1) for connection_id in (lost, other)]
    create = runs.create

    def half_made(session: Any, connection: Connection, *given: Any, **named: Any) -> Run:
        run = create(session, connection, *given, **named)
        if connection.id == lost:
            raise ZeroDivisionError
        return run

    now = utcnow()
    with hub.db.write() as session:
        session.execute(sa.update(Run).where(Run.id.in_(due)).values(state="completed", next_run_at=now))
    monkeypatch.setattr(runs, "create", half_made)
    with hub.db.write() as session:
        repeat(session, now)

    assert [run.id for run in hub.rows(Run, Run.connection_id == lost)] == due[:1]
    assert hub.the_run(due[0]).next_run_at == now + dt.timedelta(hours=1)
    assert [(run.state, run.next_run_at) for run in hub.rows(Run, Run.connection_id == other)] == [
        ("completed", None), ("pending", None)]


@on_sqlite
def test_a_page_that_the_database_breaks_off_is_counted_and_waits_longer_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(_taken: Any) -> Any:
        raise Unavailable("the statement took too long")

    hub = world.hub
    monkeypatch.setattr(runs, "BACK_OFF_S", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(hub.engine.runner, "page", broken_off)
        run_id = hub.start_run(world.connection_id, "reconcile")
        world.watched()
        eventually(lambda: hub.the_run(run_id).failures > 0, 30)
        assert "took too long" in (hub.the_run(run_id).error or "")
    assert hub.until_run(run_id, "completed").failures == 0
