"""supervisord, started for one hub and spoken to over its unix socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xmlrpc.client
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from hub import machine
from hub.installation import ROOT, Installation, Program
from hub.trouble import Trouble

LONGEST_SOCKET_PATH = 100
"""Linux allows 107 bytes; supervisord binds a name some bytes longer first."""
STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class State:
    """What supervisord says of one program."""

    name: str
    state: str
    pid: int | None
    since: datetime | None


class Supervisor:
    """The process keeper of one hub."""

    def __init__(self, installation: Installation) -> None:
        self._hub = installation
        self._run = installation.home / "run"
        self._socket = self._run / "supervisor.sock"

    # -- life ---------------------------------------------------------------------------------------------------------

    def running(self) -> bool:
        """Whether it answers."""
        return self._socket.exists() and self._ask("getPID") is not None

    def start(self) -> None:
        """Write the process file and start supervisord in the background; no-op when it runs.

        Raises:
            Trouble: the folder is too deep, or supervisord does not start.
        """
        if self.running():
            self._refuse_changed_settings()
            return
        if len(str(self._socket)) > LONGEST_SOCKET_PATH:
            raise Trouble(f"{self._hub.home} is too long a path for a unix socket", "set HUB_HOME to a shorter one")
        for folder in (self._hub.home, self._run, self._hub.home / "log"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        configuration = self._write_configuration()
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
        started = subprocess.run(
            command, cwd=ROOT, env=self._hub.environment(), capture_output=True, text=True, timeout=30, check=False
        )
        deadline = time.monotonic() + 10
        while not self.running():
            if started.returncode or time.monotonic() > deadline:
                words = started.stderr.strip() or "no answer"
                raise Trouble(f"supervisord does not start ({words})", f"look into {self._hub.home / 'log'}")
            time.sleep(0.05)
        (self._run / "environment").write_text(self._hub.fingerprint())

    def stop(self) -> bool:
        """Stop every program, last started first, and supervisord itself; False when it did not run.

        Raises:
            Trouble: it is still there after a minute.
        """
        pid = self._ask("getPID")
        if not isinstance(pid, int):
            return False
        self._ask("shutdown")
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while machine.alive(pid):
            if time.monotonic() > deadline:
                raise Trouble(f"supervisord (pid {pid}) does not end", f"see {self._hub.home / 'log'}, then kill {pid}")
            time.sleep(0.1)
        return True

    def orphans(self) -> dict[int, str]:
        """Processes of this hub that nobody keeps: their supervisord was killed."""
        if self.running():
            return {}
        return machine.processes_with("HUB_SUPERVISED", str(self._hub.home))

    def stop_orphans(self, timeout_s: float = 40.0) -> int:
        """End what a killed supervisord left, in order if it can be, and return how many there were."""
        left = self.orphans()
        tops = [pid for pid in left if machine.parent_of(pid) not in left]  # a child ends with its parent
        # The rooms first: they need the broker to finish what they have begun.
        rooms = [pid for pid in tops if "chassis.launcher" in left[pid]]
        for group in (rooms, [pid for pid in tops if pid not in rooms]):
            _end(group, timeout_s)
        _end([pid for pid in left if machine.alive(pid)], 0.0)
        return len(left)

    # -- programs -----------------------------------------------------------------------------------------------------

    def states(self) -> dict[str, State]:
        """What every program is doing, by name; empty when supervisord does not run."""
        return {info["name"]: _state(info) for info in self._ask("getAllProcessInfo") or ()}

    def start_program(self, program: Program) -> None:
        """Start a program without waiting; no-op when it runs."""
        self._ask("startProcess", program.full_name, False)

    def stop_program(self, program: Program) -> None:
        """Stop a program and wait for its end; no-op when it does not run."""
        self._ask("stopProcess", program.full_name, True)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Call supervisord; None when it is not there, or when the program is already as asked."""
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultString.partition(":")[0] in {"ALREADY_STARTED", "NOT_RUNNING"}:
                return None
            raise Trouble(f"supervisord refused {method} {arguments}: {fault.faultString}", "run hub doctor") from fault
        except (OSError, HTTPException):
            return None

    def _write_configuration(self) -> Path:
        values = {"root": str(ROOT), "home": str(self._hub.home), "python": sys.executable}
        text = self._hub.process_file.read_text(encoding="utf-8")
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value.replace("%", "%%"))
        target = self._run / "supervisord.conf"
        target.write_text(text, encoding="utf-8")
        target.chmod(0o600)
        return target

    def _refuse_changed_settings(self) -> None:
        recorded = self._run / "environment"
        if recorded.exists() and recorded.read_text() != self._hub.fingerprint():
            raise Trouble("the hub runs with other settings than this shell has", "run hub down, then hub up")


def _state(info: dict[str, Any]) -> State:
    since = info["start"] if info["statename"] in {"RUNNING", "STARTING"} else info["stop"]
    return State(
        name=info["name"],
        state=info["statename"].lower(),
        pid=info["pid"] or None,
        since=datetime.fromtimestamp(since, UTC) if since else None,
    )


def _end(pids: list[int], timeout_s: float) -> None:
    """Ask processes to end; kill those that have not after `timeout_s`."""
    for pid in pids:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while any(map(machine.alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in filter(machine.alive, pids):
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, signum: signal.Signals) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return
