"""Real processes for tests: a room started as it runs in production, killed, paused or drained by pid."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INHERITED = ("PATH", "HOME", "LANG", "TZ", "SSL_CERT_FILE", "TMPDIR")
"""What a process gets of the tests' own environment: nothing that would configure the hub."""
UNLIMITED = {"GATEWAY_LIMIT_REQUESTS": "1000000", "GATEWAY_LIMIT_ANONYMOUS": "1000000", "GATEWAY_LIMIT_AT_ONCE": "64"}
"""Settings of a gateway that is asked as fast as it answers; the limits have tests of their own."""


def free_port(in_a_row: int = 1) -> int:
    """A loopback port nobody listens on, the first of so many in a row; below those that outgoing connections get.

    It is this process's until it ends: no test beside it is given the same one, however late it is listened on.
    """
    for _ in range(200):
        first = random.randrange(20_000, 32_000)
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for port in range(first, first + in_a_row):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
                _take(port)
            return first
    raise RuntimeError("no free port between 20000 and 32000")


def _take(port: int) -> None:
    """Hold the name of a port, of which there is one on this machine; it is free again when this process ends.

    Raises:
        OSError: somebody holds it.
    """
    held = socket.socket(socket.AF_UNIX)
    held.bind(f"\0hub-tests-port-{port}")
    _HELD.append(held)


_HELD: list[socket.socket] = []


def eventually(condition: object, timeout_s: float = 30.0, *, every_s: float = 0.05) -> None:
    """Wait until `condition()` is true; the usual time is a busy machine's, and a test that promises less names it.

    Raises:
        AssertionError: it was not within `timeout_s`.
    """
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.1f} s: {condition}"
        time.sleep(every_s)


@dataclass
class Process:
    """One started process and the file that has everything it printed."""

    name: str
    popen: subprocess.Popen[bytes]
    log_file: Path
    health_url: str | None = None

    @property
    def pid(self) -> int:
        return self.popen.pid

    def alive(self) -> bool:
        return self.popen.poll() is None

    def log(self) -> str:
        """Everything printed so far, stdout and stderr together."""
        return self.log_file.read_text(errors="replace")

    def ready(self) -> bool:
        """Whether /readyz answers 200."""
        try:
            with urllib.request.urlopen(f"{self.health_url}/readyz", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait for /readyz.

        Raises:
            AssertionError: the process ended or did not become ready; the text has the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not self.ready():
            assert self.alive(), f"{self.name} ended with {self.popen.returncode}:\n{self.log()[-3000:]}"
            assert time.monotonic() < deadline, f"{self.name} not ready in {timeout_s:.0f} s:\n{self.log()[-3000:]}"
            time.sleep(0.1)

    def signal(self, signum: signal.Signals) -> None:
        if self.alive():
            self.popen.send_signal(signum)

    def kill(self) -> None:
        """SIGKILL, as a power cut; returns when the process is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        """SIGSTOP: alive, connected and silent."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def terminate(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, then wait for the drain; return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 30.0) -> int:
        return self.popen.wait(timeout_s)


class Processes:
    """Starts processes and ends every one of them with the test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._started: list[Process] = []

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> Process:
        """Start `command` from the repository's root with a small environment plus `env`."""
        log_file = self.home / f"{name}-{len(self._started)}.log"
        environ = {key: os.environ[key] for key in INHERITED if key in os.environ}
        environ |= {"HUB_HOME": str(self.home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(env or {})}
        with log_file.open("ab") as log:
            popen = subprocess.Popen(
                list(command), cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        process = Process(name, popen, log_file)
        self._started.append(process)
        return process

    def room(self, room: str, env: Mapping[str, str], *, wait_s: float | None = 60.0) -> Process:
        """Start `python -m chassis.launcher ROOM`; wait for /readyz unless `wait_s` is None.

        The health address is a free port unless `env` names one.
        """
        key = f"HEALTH_ADDRESS_{room.upper()}"
        address = env.get(key) or f"127.0.0.1:{free_port()}"
        process = self.start(room, [sys.executable, "-m", "chassis.launcher", room], {**env, key: address})
        process.health_url = f"http://{address}"
        if wait_s is not None:
            process.wait_ready(wait_s)
        return process

    def stop_all(self) -> None:
        """Kill every process: a test that looks at the end of one ends it itself, and a drain costs a second."""
        for process in self._started:
            process.signal(signal.SIGKILL)
        for process in self._started:
            process.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts real processes with `HUB_HOME` in this test's own folder; none survives the test."""
    home = tmp_path / "hub"
    home.mkdir()
    started = Processes(home)
    try:
        yield started
    finally:
        started.stop_all()
