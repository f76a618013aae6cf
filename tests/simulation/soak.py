"""`make soak`: many schedules, over all processors, by chance; what fails is shown with the seed that replays it."""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.simulation.lab import lab
from tests.simulation.profiles import BATCH, run_seed
from tests.simulation.schedules import Schedule

_kept = contextlib.ExitStack()


def open_lab() -> None:
    """Prepare a process for schedules."""
    home = Path(_kept.enter_context(tempfile.TemporaryDirectory(prefix="hub-soak-")))
    Schedule.lab = _kept.enter_context(lab(home))


def failure_of(number: int) -> tuple[int, str]:
    """Run the schedules of a seed; return it with what failed, nothing if all held."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            run_seed(number)
    except Exception:
        return number, f"{said.getvalue()}{traceback.format_exc()}"
    return number, ""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run them; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=int(os.environ.get("HUB_SCHEDULES") or 100_000))
    parser.add_argument("--seed", type=int, default=int(os.environ["HUB_SEED"]) if os.environ.get("HUB_SEED") else None)
    asked = parser.parse_args()
    first = int(time.time()) if asked.seed is None else asked.seed
    seeds = range(first, first + (1 if asked.seed is not None else -(-asked.schedules // BATCH)))
    began, failed = time.monotonic(), []
    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, len(seeds)), open_lab) as pool:
        for done, (number, failure) in enumerate(pool.imap_unordered(failure_of, seeds), 1):
            if failure:
                failed.append(number)
                say(f"{failure}\nseed {number} fails; it alone again: make soak HUB_SEED={number}\n")
            per_s = done * BATCH / (time.monotonic() - began)
            say(f"{done * BATCH} of {len(seeds) * BATCH} schedules, {per_s:.0f} a second, {len(failed)} failures, "
                f"{(len(seeds) - done) * BATCH / per_s / 60:.0f} min left")
    say(f"{len(seeds) * BATCH} schedules of seeds {seeds[0]} to {seeds[-1]}: "
        + (f"seeds {', '.join(map(str, failed))} fail" if failed else "none lost, doubled or put back anything"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
