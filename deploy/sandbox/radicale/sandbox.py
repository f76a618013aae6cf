#!/usr/bin/env python3
"""A real Radicale 3.9 CalDAV server on this machine: the task calendars of an OA, for trying the hub against.

    sandbox.py prepare     make the environment, the users and the home; nothing is left running
    sandbox.py serve       serve in the foreground (for a supervisor); needs `prepare`
    sandbox.py start       prepare, then serve in the background and wait until it answers
    sandbox.py stop        stop what `start` or `serve` started
    sandbox.py status      one line; exit status 0 running, 3 stopped
    sandbox.py purge       stop, then delete all state

Every step is idempotent, so a first run that was cut off is finished by the next one. All state lies under
$HUB_HOME/sandbox/radicale (HUB_HOME defaults to ./.hub). The server listens on loopback only. Passwords are random,
made at the first start and kept in seed.json, mode 0600.

Only the standard library is used here; what the server needs is installed, by hash, into a virtual environment of its
own.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOM = Path(__file__).resolve().parent
REQUIREMENTS = ROOM / "requirements.txt"
HOME = "/team/"
HUB = "crmhub"
COLLEAGUES = ("zhangsan", "lisi")
READY_WITHIN_S = 30
STOPS_WITHIN_S = 10


class Stop(Exception):
    """A reason to end that a person can act on; printed as one line, exit status 1."""


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """Where one sandbox keeps its things and how it is served."""

    state: Path
    venv: Path
    port: int

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def conf(self) -> Path:
        return self.state / "radicale.conf"

    @property
    def seed_file(self) -> Path:
        return self.state / "seed.json"

    @property
    def marker(self) -> Path:
        return self.state / "seed.done"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def passwords(self) -> dict[str, str]:
        """The random password of each user; made at the first question."""
        if not self.seed_file.exists():
            users = {name: secrets.token_urlsafe(24) for name in (HUB, *COLLEAGUES)}
            seed = {"home": HOME, "username": HUB, "password": users.pop(HUB), "colleagues": users}
            write_private(self.seed_file, json.dumps(seed, indent=1))
        seed = json.loads(self.seed_file.read_text())
        return {seed["username"]: seed["password"], **seed["colleagues"]}


def write_private(file: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone."""
    fresh = file.with_name(file.name + ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(file)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} radicale: {text}", flush=True)


def run(sandbox: Sandbox, step: str, *command: str | Path, told: str = "") -> bytes:
    """Run one step and return what it printed; on failure show the end of that."""
    done = subprocess.run(
        [str(part) for part in command], input=told.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment(), check=False,
    )  # fmt: skip
    if done.returncode:
        tail = "\n".join(done.stdout.decode(errors="replace").splitlines()[-12:])
        raise Stop(f"{step} failed (exit {done.returncode}):\n{tail}")
    return done.stdout


def environment() -> dict[str, str]:
    """What the server's own programs see: no stray settings of the caller, UTF-8 in a bare container too."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RADICALE_", "PYTHON"))}
    return kept | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


# --- prepare ---------------------------------------------------------------------------------------------------------


def prepare(sandbox: Sandbox) -> None:
    """Environment, users and home; a moment when they stand already, under a lock so that two callers do it once."""
    sandbox.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with waiting_lock(sandbox.state / "prepare.lock"):
        prepare_venv(sandbox)
        wanted = fingerprint(ROOM / "seed.py", REQUIREMENTS)
        if sandbox.marker.exists() and sandbox.marker.read_text() == wanted:
            return
        say("[2/2] making users and the home of the calendars")
        write_users(sandbox)
        write_conf(sandbox)
        run(sandbox, "seed", sandbox.python, ROOM / "seed.py", sandbox.conf, HOME)
        sandbox.marker.write_text(wanted)


@contextlib.contextmanager
def waiting_lock(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def fingerprint(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def prepare_venv(sandbox: Sandbox) -> None:
    wanted, marker = fingerprint(REQUIREMENTS), sandbox.venv / ".complete"
    with waiting_lock(sandbox.venv.with_name(sandbox.venv.name + ".lock")):  # several sandboxes may share one venv
        if marker.exists() and marker.read_text() == wanted:
            return
        if sandbox.venv.exists():
            if any(sandbox.venv.iterdir()) and not (sandbox.venv / "pyvenv.cfg").exists():
                raise Stop(f"{sandbox.venv} is not a virtual environment; name another with --venv")
            shutil.rmtree(sandbox.venv)
        say(f"[1/2] installing Radicale by hash into {sandbox.venv} (about 5 s)")
        try:
            run(sandbox, "venv", sys.executable, "-m", "venv", sandbox.venv)
        except Stop as error:
            shutil.rmtree(sandbox.venv, ignore_errors=True)
            raise Stop(f"{error}\nOn Debian or Ubuntu: apt-get install python3-venv") from None
        run(sandbox, "pip", sandbox.python, "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes",
            "--requirement", REQUIREMENTS)  # fmt: skip
        marker.write_text(wanted)


def write_users(sandbox: Sandbox) -> None:
    hashing = "import bcrypt, sys; print(bcrypt.hashpw(sys.stdin.buffer.read(), bcrypt.gensalt(6)).decode(), end='')"
    lines = [
        f"{name}:{run(sandbox, 'hash', sandbox.python, '-c', hashing, told=password).decode()}\n"
        for name, password in sandbox.passwords().items()
    ]
    write_private(sandbox.state / "users", "".join(lines))


def write_conf(sandbox: Sandbox) -> None:
    write_private(
        sandbox.state / "rights",
        f"""[closed]
user = {HUB}
collection = team/private-[^/]+
permissions =
[looked-at]
user = {HUB}
collection = team/readonly-[^/]+
permissions = r
[root]
user = .+
collection =
permissions = R
[principal]
user = .+
collection = {{user}}
permissions = RW
[own]
user = .+
collection = {{user}}/[^/]+
permissions = rw
[team]
user = .+
collection = team
permissions = RW
[calendars]
user = .+
collection = team/[^/]+
permissions = rw
""",
    )
    write_private(
        sandbox.conf,
        f"""[server]
hosts = 127.0.0.1:{sandbox.port}
[auth]
type = htpasswd
htpasswd_filename = {sandbox.state / "users"}
htpasswd_encryption = bcrypt
delay = 0
[rights]
type = from_file
file = {sandbox.state / "rights"}
[storage]
filesystem_folder = {sandbox.state / "collections"}
[logging]
level = warning
""",
    )


# --- serve -----------------------------------------------------------------------------------------------------------


def serve(sandbox: Sandbox) -> None:
    """Become the server. The lock taken here outlives exec, so `status` cannot mistake a recycled pid for ours."""
    if not sandbox.marker.exists():
        raise Stop("nothing is prepared yet; run `prepare` first")
    lock = (sandbox.state / "server.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Stop(f"already running ({sandbox.url})") from None
    refuse_busy_port(sandbox.port)
    write_conf(sandbox)
    lock.truncate(0)
    lock.write(f"{os.getpid()} {sandbox.port}")
    lock.flush()
    os.set_inheritable(lock.fileno(), True)
    os.chdir(sandbox.state)
    os.execve(  # noqa: S606 - this process becomes the server
        sandbox.python, [str(sandbox.python), "-m", "radicale", f"--config={sandbox.conf}"], environment()
    )


def refuse_busy_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Stop(f"port {port} on 127.0.0.1: {error.strerror}; choose another with --port") from None


def running(sandbox: Sandbox) -> tuple[int, int] | None:
    """(pid, port) of the live server, or None. The lock decides, the file only tells who holds it."""
    file = sandbox.state / "server.lock"
    if not file.exists():
        return None
    with file.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            pid, port = handle.read().split() or ("0", "0")
            return int(pid), int(port)
    return None


def start(sandbox: Sandbox) -> None:
    if (alive := running(sandbox)) is None:
        refuse_busy_port(sandbox.port)
        prepare(sandbox)
        log = sandbox.state / "server.log"
        with log.open("ab") as sink:
            child = subprocess.Popen([sys.executable, __file__, "serve", *flags(sandbox)], stdin=subprocess.DEVNULL,
                                     stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        wait_until_ready(sandbox, child, log)
    elif alive[1] != sandbox.port:
        raise Stop(f"already running on port {alive[1]}; `stop` it first to move to {sandbox.port}")
    say(f"ready at {sandbox.url}{HOME} ; users and passwords in {sandbox.seed_file}")


def wait_until_ready(sandbox: Sandbox, child: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        if child.poll() is not None:
            raise Stop("the server ended at once:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-12:]))
        if answers(sandbox.port):
            return
        time.sleep(0.1)
    child.terminate()
    raise Stop(f"no answer within {READY_WITHIN_S} s, see {log}")


def answers(port: int) -> bool:
    """Whether the server asks who we are."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("PROPFIND", HOME, headers={"Depth": "0"})
        return connection.getresponse().status == 401
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(sandbox: Sandbox) -> None:
    if (alive := running(sandbox)) is not None and alive[0]:
        os.kill(alive[0], signal.SIGTERM)
        until = time.monotonic() + STOPS_WITHIN_S
        while running(sandbox) is not None:
            if time.monotonic() > until:
                os.kill(alive[0], signal.SIGKILL)
                until += STOPS_WITHIN_S
            time.sleep(0.05)
    say("stopped")


def purge(sandbox: Sandbox) -> None:
    stop(sandbox)
    shutil.rmtree(sandbox.state, ignore_errors=True)
    say(f"deleted {sandbox.state}")


def status(sandbox: Sandbox) -> None:
    if (alive := running(sandbox)) is None:
        print("radicale: stopped" + ("" if sandbox.marker.exists() else " (not prepared)"))
        raise SystemExit(3)
    print(f"radicale: running, pid {alive[0]}, http://127.0.0.1:{alive[1]}{HOME}")


# --- command line ----------------------------------------------------------------------------------------------------

VERBS = {verb.__name__: verb for verb in (prepare, serve, start, stop, status, purge)}


def flags(sandbox: Sandbox) -> list[str]:
    return [f"--state={sandbox.state}", f"--venv={sandbox.venv}", f"--port={sandbox.port}"]


def parse(arguments: list[str]) -> tuple[str, Sandbox]:
    env = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--state", type=Path, default=Path(env("HUB_HOME", ".hub")) / "sandbox" / "radicale")
    parser.add_argument("--venv", type=Path, default=env("HUB_RADICALE_VENV"), help="default: <state>/venv")
    parser.add_argument("--port", type=int, default=int(env("HUB_RADICALE_PORT", "5232")))
    given = parser.parse_args(arguments)
    state = given.state.absolute()
    return given.verb, Sandbox(state=state, venv=(given.venv or state / "venv").absolute(), port=given.port)


def main() -> None:
    verb, sandbox = parse(sys.argv[1:])
    try:
        VERBS[verb](sandbox)
    except Stop as error:
        sys.exit(f"radicale: {error}")
    except KeyboardInterrupt:
        sys.exit("radicale: interrupted; run the same command again to go on")


if __name__ == "__main__":
    main()
