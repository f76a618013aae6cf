"""Claiming ahead: a slot passes from one call to the next in memory, and never are there more calls than slots.

Two processes on one database, moved one step at a time; that they count each other right is shown on both databases.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from contracts.errors import Unavailable
from services.integrations.models import Attempt, Binding, Delivery
from services.integrations.operations import settlements, slots, unmade
from services.integrations.queries import deliveries
from tests.simulation.hub import Hub
from tests.simulation.lab import ADMIN, Lab, lab
from tests.simulation.target import Fate

SLOTS = 2
NAME = "sim_keyed"


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("lab"), adapters=[NAME], max_in_flight=SLOTS) as made:
        yield made


@pytest.fixture
def hub(in_memory: Lab) -> Hub:
    return Hub(in_memory)


@pytest.fixture
def two(tmp_path: Path, db_uri: str) -> Iterator[Hub]:
    with lab(tmp_path, db_uri, adapters=[NAME], max_in_flight=SLOTS) as made:
        yield Hub(made)


def warm(hub: Hub, process: int, id: str, takes_s: float = 0.02) -> None:
    """Let a process make one call, so that it knows how long the target takes."""
    hub.accept([id])
    hub.turn(process)
    calls = hub.processes[process].calls
    calls.begin(0)
    hub.clock.advance(takes_s)
    calls.finish()
    hub.turn(process)


def crowd(hub: Hub, process: int = 0) -> None:
    """Let six records wait, and a process claim what it may."""
    warm(hub, process, "first")
    hub.accept(f"r{n}" for n in range(6))
    hub.clock.advance(0.02)
    hub.turn(process)
    begin(hub, process)


def begin(hub: Hub, process: int) -> None:
    calls = hub.processes[process].calls
    while calls.waiting:
        calls.begin(0)


def come_back(hub: Hub, process: int = 0, fate: Fate = "done", after_s: float = 0.02) -> None:
    """Let the oldest call of a process come to this."""
    hub.clock.advance(after_s)
    hub.processes[process].calls.go_on(0, fate)


def leased(hub: Hub) -> tuple[int, int]:
    """Return how many leases are on a slot, and how many ahead."""
    with hub.lab.db.read() as session:
        rows = session.scalars(sa.select(Delivery.ahead).where(Delivery.lease_until.is_not(None))).all()
    return rows.count(False), rows.count(True)


def on_the_wire(hub: Hub) -> int:
    return hub.on_the_wire().total()


def broken_with(
    operation: Callable[..., Any], when: Callable[..., object], error: Exception | None = None
) -> Callable[..., Any]:
    """Return an operation that breaks where `when` says so of what it is told."""
    def told(*args: Any, **kwargs: Any) -> Any:
        if when(*args, **kwargs):
            raise error or RuntimeError
        return operation(*args, **kwargs)
    return told


def attempts(hub: Hub) -> list[str]:
    """Return what became of each call that is over."""
    with hub.lab.db.read() as session:
        return sorted(filter(None, session.scalars(sa.select(Attempt.outcome))))


def finish(hub: Hub) -> None:
    """Let both processes do all that is left."""
    for _ in range(200):
        for process in (0, 1):
            hub.sweep(process)
            hub.turn(process)
            hub.processes[process].calls.finish()
            hub.turn(process)
        if not any(leased(hub)) and not open_(hub):
            return
        hub.clock.advance(5.0)
    raise AssertionError(f"{open_(hub)} deliveries are still open")


def open_(hub: Hub) -> int:
    with hub.lab.db.read() as session:
        return deliveries.ledger(session, hub.lab.connections[NAME], ADMIN).open


def all_arrived_once(hub: Hub) -> bool:
    target = hub.targets[NAME]
    return target.breaches == [] and sorted(row.key for row in target.rows.values()) == ["first"] + [
        f"r{n}" for n in range(6)]


def test_a_slot_passes_to_the_next_job_before_the_call_is_settled(hub: Hub) -> None:
    crowd(hub)
    assert (leased(hub), on_the_wire(hub)) == ((2, 4), 2)

    come_back(hub)

    assert (leased(hub), on_the_wire(hub)) == ((2, 4), 2)
    hub.turn(0)
    assert (leased(hub), on_the_wire(hub)) == ((2, 3), 2)
    finish(hub)
    assert all_arrived_once(hub)
    assert attempts(hub) == ["succeeded"] * 7


def test_two_processes_never_make_more_calls_than_the_connection_bears(two: Hub) -> None:
    warm(two, 1, "r0")
    crowd(two)
    most = 0
    for step in range(40):
        for process in (step % 2, 1 - step % 2):
            if two.processes[process].calls.hanging:
                come_back(two, process)
            most = max(most, on_the_wire(two))
            two.turn(1 - process)
            begin(two, 1 - process)
            most = max(most, on_the_wire(two))
            assert leased(two)[0] >= on_the_wire(two)
    assert most == SLOTS
    finish(two)
    assert all_arrived_once(two)


def test_a_process_that_ends_with_jobs_ahead_loses_and_doubles_nothing(hub: Hub) -> None:
    crowd(hub)
    come_back(hub)  # nobody has written down who has its slot now
    hub.kill(0, noticed=True)

    finish(hub)

    assert all_arrived_once(hub)


@pytest.mark.parametrize("fate", ["busy", "refused", "lost", "gone"])
def test_a_call_that_fails_as_the_next_would_gives_back_what_is_ahead(hub: Hub, fate: Fate) -> None:
    crowd(hub)

    come_back(hub, fate=fate)

    assert on_the_wire(hub) == 1
    hub.turn(0)
    assert leased(hub)[1] == 0
    assert attempts(hub).count("not_made") == 4
    with hub.lab.db.read() as session:
        kept = session.scalars(sa.select(Attempt.payload_sealed).where(Attempt.outcome == "not_made"))
        assert set(kept) == {None}


@pytest.mark.parametrize("fate", ["invalid", "broken"])
def test_a_record_that_is_refused_passes_its_slot_on(hub: Hub, fate: Fate) -> None:
    crowd(hub)

    come_back(hub, fate=fate)

    assert on_the_wire(hub) == 2
    hub.turn(0)
    assert leased(hub) == (2, 3)
    assert attempts(hub) == ["failed", "succeeded"]


def test_what_was_not_called_is_given_back_although_an_outcome_cannot_be_settled(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(hub)
    come_back(hub, fate="busy")
    with monkeypatch.context() as patched:
        patched.setattr(settlements, "settle", broken_with(settlements.settle, lambda _session, outcomes, *_: outcomes))
        hub.turn(0)

    assert leased(hub) == (2, 0)
    assert attempts(hub) == ["not_made"] * 4 + ["succeeded"]
    finish(hub)
    assert all_arrived_once(hub)


def test_an_outcome_is_settled_although_who_has_its_slot_cannot_be_written_down(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(hub)
    come_back(hub)
    with monkeypatch.context() as patched:
        patched.setattr(slots, "place", broken_with(slots.place, lambda _session, *, on, ahead: on))
        hub.turn(0)

    assert attempts(hub) == ["succeeded"] * 2
    finish(hub)
    assert all_arrived_once(hub)


def test_what_was_not_called_is_kept_for_the_next_turn_while_the_database_is_away(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(hub)
    come_back(hub, fate="busy")
    with monkeypatch.context() as patched:
        patched.setattr(settlements, "settle", broken_with(settlements.settle, lambda _session, outcomes, *_: outcomes))
        patched.setattr(unmade, "give_back", broken_with(unmade.give_back, lambda _session, jobs, _now: jobs,
                                                         Unavailable("away")))
        hub.turn(0)
    assert leased(hub) == (2, 4)

    hub.turn(0)

    assert attempts(hub).count("not_made") == 4


def test_the_dispatcher_outlives_whatever_breaks_a_round(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    process = hub.processes[0]
    rounds: list[str] = []

    def round_() -> None:
        rounds.append("begun")
        if len(rounds) == 1:
            raise RuntimeError
        process.dispatcher.stop()

    monkeypatch.setattr(process.dispatcher, "round", round_)
    monkeypatch.setattr(process.calls, "stop", lambda: None)

    process.dispatcher.run()

    assert len(rounds) == 2


def test_what_is_ahead_of_a_paused_connection_waits_again_as_it_did(hub: Hub) -> None:
    crowd(hub)
    hub.pause(NAME)

    come_back(hub)  # on whose slot the next has gone already
    hub.turn(0)
    hub.turn(0)

    assert leased(hub) == (2, 0)
    with hub.lab.db.read() as session:
        given_back = session.scalars(sa.select(Delivery).join(Attempt, Attempt.delivery_id == Delivery.id)
                                     .where(Attempt.outcome == "not_made")).all()
        assert len(given_back) == 3
        for one in given_back:
            assert (one.state, one.attempts, one.deferrals, one.due_at) == ("pending", 0, 0, one.created_at)
            assert session.get(Binding, (one.connection_id, one.entity, one.local_id)) is None
    hub.resume(NAME)
    finish(hub)
    assert all_arrived_once(hub)


def test_a_process_that_stops_gives_back_what_is_ahead_and_settles_what_it_has_called(hub: Hub) -> None:
    crowd(hub)

    hub.processes[0].dispatcher.stop()
    hub.turn(0)
    assert leased(hub) == (2, 0)
    come_back(hub)
    come_back(hub)
    hub.turn(0)

    assert leased(hub) == (0, 0)
    assert on_the_wire(hub) == 0
    assert attempts(hub) == ["not_made"] * 4 + ["succeeded"] * 3


@pytest.mark.parametrize(("took_s", "most"), [(0.1, 2), (0.5, 1)])
def test_a_slot_that_came_free_during_a_turn_is_passed_on_while_its_lease_lasts_for_a_call(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, took_s: float, most: int
) -> None:
    warm(hub, 0, "first")
    hub.accept(["r0", "r1"])
    hub.turn(0)
    hub.clock.advance(5.0)
    begin(hub, 0)
    hub.clock.advance(24.8)  # of 60, and a call may take 30
    hub.accept(f"r{n}" for n in range(2, 6))
    dispatcher = hub.processes[0].dispatcher
    transact = dispatcher._transact

    def meanwhile(*told: Any) -> Any:
        claimed = transact(*told)
        come_back(hub, after_s=0.0)
        hub.clock.advance(took_s)
        return claimed

    monkeypatch.setattr(dispatcher, "_transact", meanwhile)
    hub.turn(0)
    begin(hub, 0)

    assert leased(hub) == (2, 4)
    assert on_the_wire(hub) == most


def a_lone_order(hub: Hub) -> None:
    come_back(hub)
    hub.processes[0].dispatcher.wake(["another connection"])


def a_pause(hub: Hub) -> None:
    hub.processes[0].dispatcher._flights.give_back([hub.lab.connections[NAME]])


@pytest.mark.parametrize("event", [a_lone_order, a_pause])
def test_what_can_be_sent_at_once_does_not_wait_until_a_round_is_full(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, event: Callable[[Hub], None]
) -> None:
    monkeypatch.setattr("services.integrations.engine.dispatcher.ROUND_S", 600.0)
    crowd(hub)
    event(hub)

    waiting = threading.Thread(target=hub.processes[0].dispatcher._wait, daemon=True)
    waiting.start()
    waiting.join(30.0)
    assert not waiting.is_alive()


def test_a_round_is_awaited_while_something_is_ahead(hub: Hub) -> None:
    crowd(hub)
    come_back(hub)
    dispatcher = hub.processes[0].dispatcher

    assert not dispatcher._flights.hungry(hub.lab.connections.values())


def test_what_is_ahead_does_not_grow_old(hub: Hub) -> None:
    crowd(hub)

    hub.clock.advance(1.0)
    hub.turn(0)

    assert attempts(hub).count("not_made") == 4


def test_nothing_is_claimed_ahead_of_a_slow_target(hub: Hub) -> None:
    warm(hub, 0, "first", takes_s=0.3)
    hub.accept(f"r{n}" for n in range(6))

    hub.turn(0)

    assert leased(hub) == (2, 0)


def test_nothing_is_claimed_ahead_where_a_lost_call_would_be_left_to_a_person(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.integrations.engine.targets.Target.effectively_once", False)
    warm(hub, 0, "first")
    hub.accept(f"r{n}" for n in range(6))

    hub.turn(0)

    assert leased(hub) == (2, 0)


def test_a_doubt_is_looked_into_although_a_crowd_waits(hub: Hub) -> None:
    crowd(hub)
    come_back(hub, fate="lost")
    hub.turn(0)
    hub.accept(f"s{n}" for n in range(120))

    for _ in range(80):
        hub.turn(0)
        begin(hub, 0)
        come_back(hub, after_s=0.1)

    assert "found" in attempts(hub)
    assert open_(hub) > 0
