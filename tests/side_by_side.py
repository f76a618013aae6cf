"""Runs the tests in several processes at once: `python tests/side_by_side.py [--parts N] [pytest options]`.

Most of a test here is waiting: for a broker to start, a lease to run out, a killed process to come back. Several parts
beside each other, each with a broker and databases of its own, wait at the same time. Each is given the next file when
it is done with its last, the longest first. pytest-xdist cannot do it: its workers talk through threads that eventlet
replaces under their feet.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOGETHER = (
    ("tests/adapters/tryton/",),  # an ERP
    ("tests/adapters/tryton_marketing/",),  # and one whose mailing list is its own
    ("tests/flows/test_one_order.py", "tests/flows/test_ticket_to_task.py", "tests/flows/test_every_job.py",
     "tests/flows/test_what_comes_back.py", "tests/faults/test_one_process_killed.py"),  # a whole hub
    ("tests/flows/test_access_at_once.py", "tests/flows/test_brought_together.py", "tests/flows/test_role_matrix.py",
     "tests/flows/test_every_post_repeats.py", "tests/flows/test_teams_apart.py"),  # all rooms, without an ERP
    ("tests/adapters/caldav/",),  # a task server
)
"""Files that share something dear that a session keeps: one part takes them all, and gives it back after the last."""
MEMORY = Path("/dev/shm")  # noqa: S108
NEEDED_BYTES = 1 << 30
"""What one part writes, and some."""
LONGEST = (
    "tests/flows/test_api_contract.py",
    "tests/service/identity/test_sign_in.py",
    "tests/service/local/test_hub_up.py",
    "tests/service/integrations/test_invariants.py",
    "tests/service/identity/test_users.py",
    "tests/service/chassis/test_resend.py",
    "tests/service/integrations/test_crashes.py",
    "tests/service/sales/test_orders.py",
    "tests/service/gateway/test_broker_away.py",
)
"""Begun first, so that no part ends long after the others; every run names the slowest."""
TOLD = 5
"""Failed tests that a file's line names at once."""
REASONS = 8
"""Reasons of failed tests that the last lines name: a log is often shown by its end alone."""
UNSTEADY = 3
"""Failed tests that may have failed by what ran beside them. Each is run again by itself; more are no accident."""
AGAIN = 3
"""Times in a row that such a test has to pass."""
DOTS = re.compile(r"([.FEsxXR]+( +\[ *\d+%\])?)?\n")


class Run:
    """What is left to do and what came of the rest; shared by the threads that each look after one part."""

    def __init__(self, groups: list[list[str]]) -> None:
        self.left = groups
        self.files = {file for group in groups for file in group}
        self.seconds: dict[tuple[str, ...], float] = {}
        self.counts: Counter[str] = Counter()
        self.failed: list[tuple[str, str]] = []
        self.troubles: list[str] = []
        self._done = 0
        self._lock = threading.Lock()

    def take(self) -> list[str]:
        """Return the files to run next, none at the end."""
        with self._lock:
            return self.left.pop(0) if self.left else []

    def done(self, part: int, files: list[str], answer: dict[str, Any]) -> None:
        """Tell what came of files."""
        counts = Counter(answer["counts"])
        with self._lock:
            self._done += len(files)
            self.counts += counts
            self.failed += map(tuple, answer["failed"])
            self.seconds[tuple(files)] = answer["seconds"]
            told = ", ".join(f"{n} {outcome}" for outcome, n in counts.items()) or "nothing to run"
            say(f"[{self._done:3}/{len(self.files)}] part {part} {answer['seconds']:6.1f} s  {named(files)}: {told}")
            for test, _ in answer["failed"][:TOLD]:
                say(f"          FAILED {test}")
            if more := len(answer["failed"][TOLD:]):
                say(f"          and {more} more, which stand at the end")

    def stop(self) -> None:
        """Give out no more."""
        with self._lock:
            self.troubles.append(f"interrupted; never run: {sum(map(len, self.left))} files")
            self.left.clear()

    def trouble(self, text: str) -> None:
        """Note what is wrong with the run itself."""
        with self._lock:
            self.troubles.append(text)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def named(files: list[str] | tuple[str, ...]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def reasons(failed: list[tuple[str, str]]) -> list[str]:
    """Return why tests failed, the commonest reason first, each with one of its tests."""
    tests: dict[str, list[str]] = {}
    for test, why in failed:
        tests.setdefault(" ".join(why.split())[:160], []).append(test)
    common = sorted(tests.items(), key=lambda item: -len(item[1]))
    return [f"FAILED {len(names)} x {why}\n  {names[0]}" for why, names in common[:REASONS]]


def groups() -> list[list[str]]:
    """Return every file with tests, in the order in which they are given out; those that belong together in one.

    Raises:
        SystemExit: a file that is named above does not exist.
    """
    files = sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / "tests").rglob("test_*.py"))
    shared = [[file for file in files if file.startswith(names)] for names in TOGETHER]
    apart = set(files).difference(*shared)
    if gone := [name for name in LONGEST if name not in apart] + [names[0] for names in TOGETHER for name in names
                                                                  if not any(f.startswith(name) for f in files)]:
        sys.exit(f"tests/side_by_side.py names what is not there: {', '.join(gone)}")
    return [*shared, *([file] for file in LONGEST), *([file] for file in sorted(apart.difference(LONGEST)))]


def folder(parts: int) -> Path:
    """Return a new folder for what the tests write: in memory where there is room, else on the disk.

    A broker and a database make sure of each commit. Memory does that at once and outlives a killed process as the disk
    does; only a power cut tells them apart, and no test cuts the power. What a failed run left there is cleared away;
    a run that lives has its folder locked, since its process may be out of sight where only the memory is shared.
    """
    within: Path | None = None
    if MEMORY.is_dir() and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        for left in MEMORY.glob("hub-tests-*-*"):
            if not Path(f"/proc/{left.name.split('-')[2]}").exists() and locked(left):
                shutil.rmtree(left, ignore_errors=True)
        available = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        free = min(shutil.disk_usage(MEMORY).free, int(available[1]) * 1024 // 2 if available else 0)
        within = MEMORY if free > parts * NEEDED_BYTES else None
    made = Path(tempfile.mkdtemp(prefix=f"hub-tests-{os.getpid()}-", dir=within))
    locked(made)
    made.chmod(0o711)  # PostgreSQL has a user of its own
    return made


def locked(place: Path) -> bool:
    """Lock a folder until this process ends, unless another has it locked."""
    try:
        fcntl.flock(os.open(place, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def own_folder(home: Path, name: str) -> Path:
    """Return a session's folder: what pytest clears away at the end of one is then never another's."""
    made = home / name
    made.mkdir()
    made.chmod(0o711)
    return made


def look_after(part: int, options: list[str], home: Path, run: Run) -> None:
    """Run one part: give it files until there are none left, then show what it has to say."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.support.part",
               "--turns", str(theirs.fileno()), *options, "tests"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()],
                          env={**os.environ, "TMPDIR": str(own_folder(home, str(part)))}) as process:
        theirs.close()
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(process.stdout or ()))
        reader.start()
        in_hand = give_out(part, ours, run)
        code = process.wait()
        reader.join()
    if in_hand or code not in (0, 1, 5):
        run.trouble(f"part {part} ended with {code}" + (f" in {named(in_hand)}" if in_hand else ""))
    sys.stdout.write("".join(f"[{part}] {line}" for line in said if not DOTS.fullmatch(line)))


def give_out(part: int, line: socket.socket, run: Run) -> list[str]:
    """Give a part files until there are none left or it ends; return those that it did not finish."""
    files: list[str] = []
    with line, line.makefile("rw") as turns:
        for text in turns:
            answer = json.loads(text)
            if files:
                run.done(part, files, answer)
            elif forgotten := set(answer["files"]) ^ run.files:
                run.trouble(f"pytest and tests/side_by_side.py find other files: {', '.join(sorted(forgotten))}")
            files = run.take()
            turns.write(f"{json.dumps(files)}\n")
            turns.flush()
            if not files:
                break
    return files


def passed_alone(failed: list[tuple[str, str]], options: list[str], home: Path) -> list[tuple[str, str]]:
    """Return those of a few failed tests that pass `AGAIN` times in a row with nothing beside them.

    Two processors that four parts share can hold up a process for seconds. What fails only then is named at the end of
    the run and has to be mended, but the run does not fail for it.
    """
    tests = dict(reversed(failed))
    if len(tests) > UNSTEADY:
        return []
    say(f"\n{len(tests)} failed beside others; each by itself now, {AGAIN} times:" if tests else "")
    steady = []
    for number, (test, why) in enumerate(tests.items()):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, test]
        env = {**os.environ, "TMPDIR": str(own_folder(home, f"again-{number}"))}
        codes = [subprocess.run(command, cwd=ROOT, env=env, check=False, stdin=subprocess.DEVNULL).returncode
                 for _ in range(AGAIN)]
        if not any(codes):
            steady.append((test, why))
    return steady


def main() -> int:
    """Run every file; return 0 when all passed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--parts", type=int, default=2 * (os.cpu_count() or 1), help="twice the processors")
    asked, options = parser.parse_known_args()
    run, began, home = Run(groups()), time.monotonic(), folder(asked.parts)
    parts = [threading.Thread(target=look_after, args=(n, options, home, run)) for n in range(1, asked.parts + 1)]
    for part in parts:
        part.start()
    try:
        for part in parts:
            part.join()
    except KeyboardInterrupt:
        run.stop()
        for part in parts:
            part.join()

    if never := [file for group in run.left for file in group]:
        run.trouble(f"never run: {', '.join(never)}")
    slowest = sorted(run.seconds.items(), key=lambda item: -item[1])[:10]
    say("\nslowest files:\n" + "\n".join(f"{seconds:7.1f} s  {named(files)}" for files, seconds in slowest))
    for trouble in run.troubles:
        say(f"TROUBLE {trouble}")
    unsteady = [] if run.troubles else passed_alone(run.failed, options, home)
    run.failed = [(test, why) for test, why in run.failed if test not in dict(unsteady)]
    failed = len(run.failed)
    if failed or run.troubles:
        say(f"what the tests wrote is in {home}")
    else:
        shutil.rmtree(home, ignore_errors=True)
    for test, why in unsteady:
        say(f"UNSTEADY passed {AGAIN} times by itself, failed beside others: mend it. {' '.join(why.split())[:160]}\n"
            f"  {test}")
    for reason in reasons(run.failed):
        say(reason)
    say(f"\n{run.counts['passed'] + len(unsteady)} passed, {len(unsteady)} of them unsteady, {failed} failed,"
        f" {run.counts['skipped']} skipped in {time.monotonic() - began:.0f} s")
    return 1 if failed or run.troubles or not run.counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
