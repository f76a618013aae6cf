"""`hub up`: from whatever state a machine is in to a serving hub, one told step after the other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.broker import BrokerError, rabbitmq_server
from hub import databases, machine, readiness
from hub.installation import ROOT, Installation, Program
from hub.keys import Keys
from hub.supervisor import State, Supervisor
from hub.trouble import Trouble

ROOM_NEEDED_MB = 500
"""The broker stops taking messages at 200 MB free, and logs, databases and a migration need some beside it."""
READY_TIMEOUT_S = 90.0
GIVEN_UP = frozenset({"fatal", "exited", "backoff", "unknown"})

Tell = Callable[[str, float], None]
"""Takes a finished step and the seconds it took."""


class BringUp:
    """One run of `hub up`."""

    def __init__(self, hub: Installation, tell: Tell, extras: tuple[str, ...] = ()) -> None:
        self._hub = hub
        self._tell = tell
        self._programs = hub.wanted(extras)
        self._supervisor = Supervisor(hub)

    def run(self) -> None:
        """Do every step that is not done yet.

        Raises:
            Trouble: a step cannot be done; those before it stand, and the next run goes on from there.
        """
        with self._step("machine checked"):
            self._check_machine()
        with self._step("keys ready"):
            Keys.of(self._hub).make_missing(self._hub)
        with self._step("process keeper running"):
            self._supervisor.start()
        broker = [program for program in self._programs if program.name == "broker"]
        others = [program for program in self._programs if program.name != "broker"]
        began = self._start(broker)  # it takes the longest; migrations do not need it
        for room, uri in databases.databases(self._hub).items():
            self._migrate(room, uri)
        self._wait_ready(broker, began)
        self._wait_ready(others, self._start(others))

    @contextmanager
    def _step(self, done: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._tell(done, time.monotonic() - began)

    # -- before anything starts ---------------------------------------------------------------------------------------

    def _check_machine(self) -> None:
        _check_folder(self._hub.home)
        self._check_packages()
        if self._supervisor.orphans():
            self._supervisor.stop_orphans()
        for program in self._programs:
            self._check_ports(program)

    def _check_packages(self) -> None:
        if self._hub.own_broker:
            try:
                rabbitmq_server()
            except BrokerError:
                remedy = "run deploy/local/bootstrap.sh, or set AMQP_URI to a broker you have"
                raise Trouble("RabbitMQ is not installed on this machine", remedy) from None
            if shutil.which("epmd", path="/usr/bin:/usr/local/bin") is None and shutil.which("epmd") is None:
                raise Trouble("epmd of Erlang is not on the PATH", "apt-get install erlang-base")
        for room in self._hub.rooms:
            if not (ROOT / ("gateway" if room == "gateway" else f"services/{room}") / "service.py").exists():
                raise Trouble(f"the code of {room} is not in {ROOT}", "restore it, or name a process file without it")

    def _check_ports(self, program: Program) -> None:
        state = self._supervisor.states().get(program.name)
        if state is not None and state.pid is not None:
            return
        for port, variable in self._hub.ports(program).items():
            if port and not machine.port_becomes_free(port):
                raise Trouble(
                    f"port {port} of {program.name} is taken by {machine.holder(port)}",
                    f"stop that, or set {variable} to a free {'port' if variable.endswith('PORT') else 'host:port'}",
                )

    # -- databases ----------------------------------------------------------------------------------------------------

    def _migrate(self, room: str, uri: str) -> None:
        """Bring a database to the newest revision; whoever runs with older code ends first, and is started anew."""
        for program in self._programs:
            if program.room == room and self._state(program).pid and self._runs_older_code(program, room, uri):
                with self._step(f"{room} stopped: it runs with the code of an older revision"):
                    self._supervisor.stop_program(program)
        with self._step(f"{room}: database at the newest revision"):
            databases.migrate(room, uri)

    def _runs_older_code(self, program: Program, room: str, uri: str) -> bool:
        # `hub migrate` may have been run before: then it is the process that misses something.
        return databases.is_old(room, uri) or "migrations: " in (readiness.missing(self._hub, program) or "")

    # -- programs -----------------------------------------------------------------------------------------------------

    def _start(self, programs: list[Program]) -> dict[str, float]:
        """Start what is not serving, in order and without waiting; return when each was started."""
        began: dict[str, float] = {}
        for program in programs:
            if readiness.missing(self._hub, program) is not None or self._state(program).pid is None:
                began[program.name] = time.monotonic()
                self._supervisor.start_program(program)
        return began

    def _wait_ready(self, programs: list[Program], began: dict[str, float]) -> None:
        waiting = [program for program in programs if program.name in began]
        pids: dict[str, int] = {}
        deadline = time.monotonic() + READY_TIMEOUT_S
        while waiting:
            for program in tuple(waiting):  # all of them: one that has failed ends the waiting for the others
                lacks = readiness.missing(self._hub, program)
                if lacks is None:
                    waiting.remove(program)
                    self._tell(f"{program.name} ready", time.monotonic() - began[program.name])
                    continue
                self._refuse_failed(program, pids)
                if time.monotonic() > deadline:
                    text = f"{program.name} is not ready after {READY_TIMEOUT_S:.0f} s ({lacks})"
                    raise Trouble(text, self._look(program))
            time.sleep(0.1)

    def _refuse_failed(self, program: Program, pids: dict[str, int]) -> None:
        """Raise when a program ended: supervisord gave up, or keeps starting it anew (another pid than last time)."""
        state = self._state(program)
        started_again = state.pid is not None and pids.setdefault(program.name, state.pid) != state.pid
        if state.state in GIVEN_UP or started_again:
            raise Trouble(f"{program.name} does not start ({self._last_words(program)})", self._look(program))

    def _state(self, program: Program) -> State:
        unknown = State(name=program.name, state="unknown", pid=None, since=None)
        return self._supervisor.states().get(program.name, unknown)

    def _log(self, program: Program) -> Path:
        return self._hub.home / "log" / f"{program.name}.log"

    def _last_words(self, program: Program) -> str:
        try:
            lines = [line for line in self._log(program).read_text(errors="replace").splitlines() if line.strip()]
        except OSError:
            lines = []
        reasons = [line for line in lines if "cannot start" in line or line.startswith(("broker:", "ERROR"))]
        return (reasons or lines or ["it said nothing"])[-1].strip()[:300]

    def _look(self, program: Program) -> str:
        return f"correct that and run hub up again; its log is {self._log(program)}"


def _check_folder(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = home / ".writable"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise Trouble(f"{home} cannot be written ({error.strerror})", "set HUB_HOME to a folder of yours") from error
    free = machine.free_mb(home)
    if free < ROOM_NEEDED_MB:
        text = f"{home} has {free} MB free, the hub needs {ROOM_NEEDED_MB} MB to start"
        raise Trouble(text, "free some space, or set HUB_HOME to a folder on another disk")
