"""Nothing acknowledged is lost, doubled or put back, whatever happens to processes, broker, targets and time."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.profiles import FAST
from tests.simulation.schedules import Schedule

pytestmark = pytest.mark.usefixtures("schedules")


def test_no_schedule_breaks_a_law_or_loses_doubles_or_puts_back_a_record() -> None:
    run_state_machine_as_test(Schedule, settings=FAST)
