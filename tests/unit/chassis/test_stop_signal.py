"""Which signals end a room."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import ROOT

PROGRAM = """
import os, signal, sys
from chassis.launcher import _stop_signal
import eventlet
stopping = _stop_signal()
signal.signal(signal.SIGUSR1, lambda *_: None)  # as a profiler would
os.kill(os.getpid(), int(sys.argv[1]))
eventlet.sleep(0.3)
print("stopping" if stopping.ready() else "running")
"""


@pytest.mark.parametrize(("signum", "state"), [(10, "running"), (15, "stopping"), (2, "stopping")])
def test_only_sigterm_and_sigint_stop_a_room(signum: int, state: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM, str(signum)], cwd=ROOT, capture_output=True,
                          text=True, timeout=30, check=False)
    assert done.stdout.strip() == state, done.stderr
