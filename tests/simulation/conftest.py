"""One lab for all schedules of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.lab import Lab, lab
from tests.simulation.schedules import Schedule


@pytest.fixture(scope="module")
def schedules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab, and the schedules that are run in it."""
    with lab(tmp_path_factory.mktemp("lab")) as made:
        Schedule.lab = made
        yield made
