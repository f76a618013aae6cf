"""Nothing acknowledged is lost, doubled or put back, whatever happens to processes, broker, targets and time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.profiles import FAST
from tests.simulation.replay import SCHEDULES
from tests.simulation.schedules import Schedule
from tests.support.processes import ROOT


@pytest.mark.usefixtures("schedules")
def test_no_schedule_breaks_a_law_or_loses_doubles_or_puts_back_a_record() -> None:
    run_state_machine_as_test(Schedule, settings=FAST)


def test_the_schedules_of_one_seed_leave_the_same_rows_in_every_process() -> None:
    """Sets are in another order in each process, and whoever replays a failure has another process."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.simulation.replay"]
    running = [subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                env={**os.environ, "PYTHONHASHSEED": order}) for order in ("1", "2")]
    first, second = (one.communicate()[0].split() for one in running)
    assert len(set(first)) > SCHEDULES // 2
    assert first == second
