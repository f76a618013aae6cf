"""The states of a task: every step from every state, and what another system's word makes of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from contracts.errors import InvalidTransition
from contracts.tasks import STATES
from services.customers.domain import tasks
from services.customers.domain.tasks import Standing

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
LATER = NOON + dt.timedelta(hours=1)

STEPS: dict[str, tuple[Callable[[str], dict[str, Any]], set[str], str]] = {
    "complete": (lambda status: tasks.complete(status, NOON), {"open", "in_progress"}, "done"),
    "reopen": (tasks.reopen, {"done"}, "open"),
    "cancel": (lambda status: tasks.cancel(status, "no need"), {"open", "in_progress"}, "cancelled"),
    "work": (lambda status: tasks.work(status, "in_progress", None), {"open", "in_progress"}, "in_progress"),
}


@pytest.mark.parametrize("status", STATES)
@pytest.mark.parametrize("name", STEPS)
def test_each_step_leads_on_from_its_own_states_only(name: str, status: str) -> None:
    step, allowed, after = STEPS[name]
    if status in allowed:
        assert step(status)["status"] == after
    else:
        with pytest.raises(InvalidTransition) as caught:
            step(status)
        assert caught.value.fields["status"] == status


def test_done_means_all_of_it_and_when_and_reopening_takes_both_back() -> None:
    assert tasks.complete("open", NOON) == {"status": "done", "progress": 100, "completed_at": NOON}
    assert tasks.reopen("done") == {"status": "open", "progress": 0, "completed_at": None}


@pytest.mark.parametrize(("status", "to", "progress", "sets"), [
    ("open", None, None, {}),
    ("open", None, 30, {"status": "in_progress", "progress": 30}),
    ("open", None, 0, {"status": "open", "progress": 0}),
    ("open", "open", 30, {"status": "open", "progress": 30}),
    ("in_progress", None, 0, {"status": "in_progress", "progress": 0}),
    ("in_progress", "open", None, {"status": "open", "progress": 0}),
])
def test_progress_puts_an_open_task_in_progress(status: str, to: str | None, progress: int | None,
                                                sets: dict[str, object]) -> None:
    assert tasks.work(status, to, progress) == sets


def test_a_done_task_may_be_corrected_and_a_cancelled_one_may_not() -> None:
    tasks.require_editable("done")
    with pytest.raises(InvalidTransition):
        tasks.require_editable("cancelled")


def follow(now: Standing, told: Standing) -> dict[str, object]:
    return tasks.follow(now, told, LATER, reason="there")


def test_a_completion_elsewhere_takes_their_time_or_that_of_its_sighting() -> None:
    assert follow(Standing("open"), Standing("done", 100, NOON))["completed_at"] == NOON
    assert follow(Standing("open"), Standing("done", 100, None))["completed_at"] == LATER
    assert follow(Standing("done", 100, NOON), Standing("done", 100, None)) == {"completed_at": NOON}


def test_what_is_done_here_and_open_there_is_reopened_as_far_as_it_is_there() -> None:
    assert follow(Standing("done", 100, NOON), Standing("in_progress", 40)) == {
        "status": "in_progress", "progress": 40, "completed_at": None}


def test_a_cancelled_task_is_not_brought_back_from_elsewhere() -> None:
    assert follow(Standing("cancelled"), Standing("cancelled")) == {}
    for told in (Standing("open"), Standing("in_progress", 10), Standing("done", 100, NOON)):
        with pytest.raises(InvalidTransition):
            follow(Standing("cancelled"), told)


def test_a_task_that_is_done_is_not_cancelled_by_tidying_it_away_elsewhere() -> None:
    assert tasks.vanish("done", "deleted in Calendars") == {}
    assert tasks.vanish("cancelled", "deleted in Calendars") == {}
    assert tasks.vanish("in_progress", "deleted in Calendars") == {
        "status": "cancelled", "cancel_reason": "deleted in Calendars"}


@pytest.mark.parametrize(("before", "after", "step"), [
    ("open", "open", "updated"), ("open", "in_progress", "updated"), ("in_progress", "open", "updated"),
    ("open", "done", "completed"), ("in_progress", "cancelled", "cancelled"), ("done", "open", "reopened"),
    ("done", "in_progress", "reopened"), ("done", "done", "updated"),
])
def test_what_happened_has_one_name(before: str, after: str, step: str) -> None:
    assert tasks.step_of(before, after) == step
