"""How many schedules are run, of how many steps, and by which chance."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.schedules import Schedule

STEPS = 25
BATCH = 500
"""Schedules of one seed. Hypothesis remembers each one that it has tried, so it is begun anew from time to time."""

_COMMON: dict[str, Any] = {"stateful_step_count": STEPS, "deadline": None, "database": None, "print_blob": True,
                           "suppress_health_check": list(HealthCheck)}
FAST = settings(max_examples=60, derandomize=True, phases=(Phase.generate,), report_multiple_bugs=False, **_COMMON)
"""The same schedules in every run. One that fails is shown as it is: to make it short can take minutes."""
SOAK = settings(max_examples=BATCH, phases=(Phase.generate, Phase.shrink), **_COMMON)



def run_seed(number: int) -> None:
    """Run the schedules of one seed.

    Raises:
        Exception: whatever the first of them that fails raised, made as short as can be, its steps as notes.
    """
    seeded = seed(number)(type("Schedule", (Schedule,), {}))
    run_state_machine_as_test(seeded, settings=SOAK)
