"""Leases, and processes that stand still for a while: each time the few steps that it takes."""

from __future__ import annotations

import pytest

from tests.simulation.hub import Hub
from tests.simulation.lab import Lab
from tests.simulation.laws import Watch
from tests.simulation.oracle import settle_everything


@pytest.fixture
def hub(schedules: Lab) -> Hub:
    return Hub(schedules)


@pytest.fixture
def watch(hub: Hub) -> Watch:
    assert hub.lab.tables is not None
    return Watch(hub.lab.tables)


def test_a_call_that_could_outlast_its_lease_is_not_made(hub: Hub, watch: Watch) -> None:
    hub.accept(["c1"])
    hub.turn(0)
    calls = hub.processes[0].calls
    assert calls.waiting

    hub.clock.advance(31.0)  # of 60, and a call may take 30
    while calls.waiting:
        calls.begin(0)

    assert calls.hanging == []
    settle_everything(hub, watch)


def test_a_call_of_an_ended_lease_is_not_made_because_its_process_has_a_newer_one(hub: Hub, watch: Watch) -> None:
    hub.accept(["c1"])
    hub.turn(0)
    calls = hub.processes[0].calls
    old = len(calls.waiting)
    hub.clock.advance(61.0)
    hub.sweep(1)
    hub.clock.advance(7.0)
    hub.turn(0)
    assert len(calls.waiting) == 2 * old, "looks whether the first calls arrived"

    hub.clock.advance(21.0)
    hub.turn(0)  # renews
    for _ in range(old):
        calls.begin(0)

    assert calls.hanging == []
    settle_everything(hub, watch)


def test_an_answer_to_a_look_up_that_was_given_up_changes_nothing(hub: Hub, watch: Watch) -> None:
    calls = hub.processes[0].calls
    hub.accept(["c1"])
    for fate in ("lost", "refused"):
        hub.turn(0)
        while calls.waiting:
            calls.begin(0)
        while calls.hanging:
            calls.go_on(0, fate)
        if fate == "lost":
            hub.turn(0)
            hub.clock.advance(7.0)
    hub.clock.advance(61.0)
    hub.sweep(1)
    swept = watch.look("").delivery
    assert any(row["state"] == "in_doubt" for row in swept.values())

    hub.turn(0)

    assert [row["probes"] for row in watch.look("").delivery.values() if row["state"] == "in_doubt"] == [
        0 for row in swept.values() if row["state"] == "in_doubt"]
    settle_everything(hub, watch)


def test_a_lease_is_kept_for_as_long_as_its_process_lives(hub: Hub, watch: Watch) -> None:
    hub.accept(["c1"])
    hub.turn(0)
    for _ in range(4):
        hub.clock.advance(21.0)
        hub.turn(0)
    calls = hub.processes[0].calls
    while calls.waiting:
        calls.begin(0)
    hub.sweep(1)
    calls.finish()
    hub.turn(0)

    tables = watch.look("")
    assert [row["outcome"] for row in tables.attempt.values()] == ["succeeded"] * len(hub.targets)
    assert {row["state"] for row in tables.delivery.values()} == {"delivered"}


def test_a_call_is_overdue_by_the_time_that_it_was_made_at(hub: Hub, watch: Watch) -> None:
    hub.accept(["c1"])
    hub.turn(0)
    calls = hub.processes[0].calls
    hub.clock.advance(21.0)
    hub.turn(0)  # renews
    while calls.waiting:
        calls.begin(0)
    assert calls.hanging

    hub.clock.advance(20.0)
    hub.turn(0)

    assert {row["state"] for row in watch.look("").delivery.values()} == {"leased"}
    settle_everything(hub, watch)
