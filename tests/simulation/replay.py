"""Runs a few schedules of one seed and prints, for each, a digest of the rows that it leaves."""

from __future__ import annotations

import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.lab import lab
from tests.simulation.laws import Tables
from tests.simulation.profiles import SOAK
from tests.simulation.schedules import Schedule

SEED, SCHEDULES = 7, 20
COMPARED = ("id", "entity", "local_id", "op", "state", "attempts", "deferrals", "probes", "fence", "due_at",
            "error_class", "superseded_by", "created_at", "settled_at")
"""Columns of a delivery without what is sealed, and so another each time."""


class Digested(Schedule):
    """A schedule that tells what it has left."""

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "watch"):
            sys.stdout.write(f"{digest(self.watch.tables, {id: name for name, id in self.lab.connections.items()})}\n")


def digest(tables: Tables, names: dict[str, str]) -> str:
    """Return a hash of the deliveries and attempts; connections, whose ids are chance, by `names`."""
    deliveries = sorted((names[row["connection_id"]], *(row[name] for name in COMPARED))
                        for row in tables.delivery.values())
    attempts = sorted(tuple(row) for row in tables.attempt.values())
    return sha256(repr((deliveries, attempts)).encode()).hexdigest()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home, lab(Path(home)) as Digested.lab:
        run_state_machine_as_test(
            seed(SEED)(Digested), settings=settings(SOAK, max_examples=SCHEDULES, phases=[Phase.generate]))
