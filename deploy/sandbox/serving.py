"""What every sandbox does alike: prepare once, serve under a lock, start, wait until it answers, stop, tell, purge.

A sandbox is a program that serves on loopback with all its state in one folder. Its own `sandbox.py` says what is
installed there, which command serves, in which environment, and when it answers; the life of the process is here.

Only the standard library is used: a sandbox runs on any Python, before anything of the hub is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

VERBS = ("prepare", "serve", "start", "stop", "status", "purge")
LISTENS = "0A"
"""State of a listening socket in /proc/net/tcp."""

Run = Callable[..., object]
"""Runs one step of a preparation: its name, then a command."""


class Stop(Exception):
    """A reason to end that a person can act on; printed as one line, exit status 1."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one sandbox keeps its things, and the port that it serves on."""

    state: Path
    port: int

    @property
    def seed_file(self) -> Path:
        return self.state / "seed.json"

    @property
    def lock_file(self) -> Path:
        return self.state / "server.lock"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def secret(self, whose: str) -> str:
        """A random password; made at the first question, kept with mode 0600."""
        file = self.state / "secrets.json"
        known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        if whose not in known:
            known[whose] = secrets.token_urlsafe(24)
            write_private(file, json.dumps(known, indent=1))
        return known[whose]


P = TypeVar("P", bound=Place)


class Server(ABC, Generic[P]):
    """One sandbox's program and the verbs for it. What a subclass must say is abstract, what it may is empty."""

    name: ClassVar[str]
    script: ClassVar[Path]
    """The program with these verbs; run again by `start`, to serve in the background."""
    path: ClassVar[str]
    """Where a person looks first, below the address."""
    kept: ClassVar[str]
    """What seed.json holds, in words."""
    ready_within_s: ClassVar[float]
    stops_within_s: ClassVar[float]

    def __init__(self, place: P) -> None:
        self.place = place

    # -- what each says of itself -------------------------------------------------------------------------------------

    @abstractmethod
    def prepared(self) -> bool:
        """Whether `prepare` was finished once."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what serving needs; a moment when it stands already."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program that serves, with its arguments; the first is the file to execute."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """All that the program sees of the environment."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the program does its work."""

    def folder(self) -> Path:
        """Where the program runs."""
        return self.place.state

    def flags(self) -> list[str]:
        """The options that make another process speak of this same sandbox."""
        return [f"--state={self.place.state}", f"--port={self.place.port}"]

    def before_serving(self) -> None:
        """What has to stand whenever the program starts."""

    def after_starting(self) -> None:
        """What can be made only while the program answers."""

    def after_stopping(self) -> None:
        """What was started beside the program."""

    def details(self) -> str:
        """What `status` tells beside the address."""
        return ""

    # -- verbs --------------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Become the program. The lock taken here outlives exec, so `status` cannot mistake a recycled pid for ours."""
        if not self.prepared():
            raise Stop("nothing is prepared yet; run `prepare` first")
        lock = self.place.lock_file.open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Stop(f"already running ({self.place.url})") from None
        refuse_busy_port(self.place.port)
        self.before_serving()
        lock.truncate(0)
        lock.write(f"{os.getpid()} {self.place.port}")
        lock.flush()
        os.set_inheritable(lock.fileno(), True)
        os.chdir(self.folder())
        command = self.command()
        os.execve(command[0], command, self.environment())  # noqa: S606 - this process becomes the server

    def running(self) -> tuple[int, int] | None:
        """(pid, port) of the live server, or None. The lock decides, the file only tells who holds it."""
        if not self.place.lock_file.exists():
            return None
        with self.place.lock_file.open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                pid, port = handle.read().split() or ("0", "0")
                return int(pid), int(port)
        return None

    def start(self) -> None:
        """Prepare and serve in the background; return when the program answers."""
        if (alive := self.running()) is None:
            refuse_busy_port(self.place.port)
            self.prepare()
            log = self.place.state / "server.log"
            with log.open("ab") as sink:
                child = subprocess.Popen([sys.executable, str(self.script), "serve", *self.flags()], stdout=sink,
                                         stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                         start_new_session=True)  # fmt: skip
            self.wait_until_ready(child, log)
        elif alive[1] != self.place.port:
            raise Stop(f"already running on port {alive[1]}; `stop` it first to move to {self.place.port}")
        self.after_starting()
        say(self.name, f"ready at {self.place.url}{self.path} ; {self.kept} in {self.place.seed_file}")

    def wait_until_ready(self, child: subprocess.Popen[bytes], log: Path) -> None:
        """Wait until `child` answers: another program that took its port meanwhile is not taken for it."""
        until = time.monotonic() + self.ready_within_s
        while time.monotonic() < until:
            if child.poll() is not None:
                raise Stop(f"the server ended at once:\n{end_of(log.read_text(errors='replace'))}")
            if listens(child.pid, self.place.port) and self.answers():
                return
            time.sleep(0.1)
        child.terminate()
        raise Stop(f"no answer within {self.ready_within_s:.0f} s, see {log}")

    def stop(self) -> None:
        """End the program, by force when it takes too long."""
        if (alive := self.running()) is not None and alive[0]:
            os.kill(alive[0], signal.SIGTERM)
            until = time.monotonic() + self.stops_within_s
            while self.running() is not None:
                if time.monotonic() > until:
                    os.kill(alive[0], signal.SIGKILL)
                    until += self.stops_within_s
                time.sleep(0.05)
        self.after_stopping()
        say(self.name, "stopped")

    def status(self) -> None:
        """Tell in one line whether it runs; exit status 3 when it does not."""
        if (alive := self.running()) is None:
            print(f"{self.name}: stopped" + ("" if self.prepared() else " (not prepared)"))
            raise SystemExit(3)
        print(f"{self.name}: running, pid {alive[0]}, http://127.0.0.1:{alive[1]}{self.path}{self.details()}")

    def purge(self) -> None:
        """Stop, then delete all state."""
        self.stop()
        shutil.rmtree(self.place.state, ignore_errors=True)
        say(self.name, f"deleted {self.place.state}")


# --- steps -----------------------------------------------------------------------------------------------------------


def prepare_venv(venv: Path, requirements: Path, run: Run, begin: Callable[[], None]) -> None:
    """Make a virtual environment with what `requirements` pins by hash, once for all sandboxes that share it."""
    with waiting_lock(venv.with_name(venv.name + ".lock")):
        if not venv_missing(venv, requirements):
            return
        if venv.exists():
            if any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
                raise Stop(f"{venv} is not a virtual environment; name another with --venv")
            shutil.rmtree(venv)
        begin()
        try:
            run("venv", sys.executable, "-m", "venv", venv)
        except Stop as error:
            shutil.rmtree(venv, ignore_errors=True)
            raise Stop(f"{error}\nOn Debian or Ubuntu: apt-get install python3-venv") from None
        run("pip", venv / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes",
            "--requirement", requirements)  # fmt: skip
        (venv / ".complete").write_text(fingerprint(requirements))


def venv_missing(venv: Path, requirements: Path) -> bool:
    marker = venv / ".complete"
    return not marker.exists() or marker.read_text() != fingerprint(requirements)


def fingerprint(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


@contextlib.contextmanager
def waiting_lock(file: Path) -> Iterator[None]:
    """Hold `file` locked, so that two callers do a thing once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_private(file: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone."""
    fresh = file.with_name(file.name + ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(file)


def refuse_busy_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Stop(f"port {port} on 127.0.0.1: {error.strerror}; choose another with --port") from None


def listens(pid: int, port: int) -> bool:
    """Whether a process of ours listens on an IPv4 port (proc(5): net/tcp and fd)."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == LISTENS and row[1].endswith(f":{port:04X}")}
    try:
        return any(str(link.readlink()) in sockets for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it ends, or has just closed a file
        return False


# --- terminal --------------------------------------------------------------------------------------------------------


def say(name: str, text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {name}: {text}", flush=True)


def end_of(output: str) -> str:
    return "\n".join(output.splitlines()[-12:])


def arguments(name: str, port: int, description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every sandbox is asked."""
    env = os.environ.get
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--state", type=Path, default=Path(env("HUB_HOME", ".hub")) / "sandbox" / name)
    parser.add_argument("--port", type=int, default=int(env(f"HUB_{name.upper()}_PORT", str(port))))
    return parser


def do(verb: str, server: Server[P]) -> None:
    """Do what was asked for; what a person can act on ends the program in a line."""
    try:
        getattr(server, verb)()
    except Stop as error:
        sys.exit(f"{server.name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{server.name}: interrupted; run the same command again to go on")
