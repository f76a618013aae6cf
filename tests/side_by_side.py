"""Runs the tests in two processes at once: `python tests/side_by_side.py [pytest options]`.

Most of a test here is waiting: for a broker to start, a lease to run out, a killed process to come back. Two runs
beside each other, each with a broker and databases of its own, take little more than half the time. pytest-xdist cannot
do it: its workers talk through threads that eventlet replaces under their feet.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HALVES = (
    ("tests/service/chassis", "tests/service/identity", "tests/service/gateway", "tests/service/customers",
     "tests/service/counts", "tests/service/sales", "tests/unit"),
    ("tests/adapters", "tests/contracts", "tests/flows", "tests/faults", "tests/house", "tests/service/integrations",
     "tests/service/local"),
)
COUNTED = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)")


def left_out() -> set[str]:
    """The folders with tests that no half names: a new one must not be forgotten."""
    named = {folder for half in HALVES for folder in half}
    folders = {file.parent.relative_to(ROOT).as_posix() for file in (ROOT / "tests").rglob("test_*.py")}
    return {f for f in folders if not any(f == name or f.startswith(f"{name}/") for name in named)}


def run(name: str, folders: tuple[str, ...], options: list[str], counts: Counter[str], codes: dict[str, int]) -> None:
    """Run one half; pass its lines on under its name."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *folders]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as half:
        assert half.stdout is not None
        last = ""
        for line in half.stdout:
            sys.stdout.write(f"[{name}] {line}")
            sys.stdout.flush()
            last = line if COUNTED.search(line) else last
        codes[name] = half.wait()
    counts.update({what.rstrip("s") if what.startswith("error") else what: int(n) for n, what in COUNTED.findall(last)})


def main() -> int:
    """Run both halves; return 0 when both passed."""
    if forgotten := left_out():
        sys.stderr.write(f"tests/side_by_side.py names no half for {', '.join(sorted(forgotten))}\n")
        return 2
    counts: Counter[str] = Counter()
    codes: dict[str, int] = {}
    halves = [threading.Thread(target=run, args=(str(n), folders, sys.argv[1:], counts, codes))
              for n, folders in enumerate(HALVES, 1)]
    for half in halves:
        half.start()
    for half in halves:
        half.join()
    failed = counts["failed"] + counts["error"]
    sys.stdout.write(f"\n{counts['passed']} passed, {failed} failed, {counts['skipped']} skipped\n")
    return max(codes.values(), default=2)


if __name__ == "__main__":
    sys.exit(main())
