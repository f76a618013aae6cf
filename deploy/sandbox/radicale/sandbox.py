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

import http.client
import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from serving import (
    Place,
    Server,
    Stop,
    arguments,
    do,
    end_of,
    fingerprint,
    prepare_venv,
    say,
    waiting_lock,
    write_private,
)

NAME = "radicale"
ROOM = Path(__file__).resolve().parent
REQUIREMENTS = ROOM / "requirements.txt"
HOME = "/team/"
HUB = "crmhub"
COLLEAGUES = ("zhangsan", "lisi")


@dataclass(frozen=True, kw_only=True)
class Sandbox(Place):
    """Where one sandbox keeps its things and how it is served."""

    venv: Path

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def conf(self) -> Path:
        return self.state / "radicale.conf"

    @property
    def marker(self) -> Path:
        return self.state / "seed.done"

    def passwords(self) -> dict[str, str]:
        """The random password of each user; made at the first question."""
        if not self.seed_file.exists():
            users = {name: secrets.token_urlsafe(24) for name in (HUB, *COLLEAGUES)}
            seed = {"home": HOME, "username": HUB, "password": users.pop(HUB), "colleagues": users}
            write_private(self.seed_file, json.dumps(seed, indent=1))
        seed = json.loads(self.seed_file.read_text())
        return {seed["username"]: seed["password"], **seed["colleagues"]}


class Radicale(Server[Sandbox]):
    """The task server."""

    name = NAME
    script = Path(__file__).resolve()
    path = HOME
    kept = "users and passwords"
    ready_within_s = 30
    stops_within_s = 10

    def prepared(self) -> bool:
        return self.place.marker.exists()

    def prepare(self) -> None:
        """Environment, users and home; a moment when they stand already, under a lock so that two do it once."""
        prepare(self.place)

    def before_serving(self) -> None:
        write_conf(self.place)

    def command(self) -> list[str]:
        return [str(self.place.python), "-m", "radicale", f"--config={self.place.conf}"]

    def environment(self) -> dict[str, str]:
        return environment()

    def answers(self) -> bool:
        """Whether the server asks who we are."""
        connection = http.client.HTTPConnection("127.0.0.1", self.place.port, timeout=5)
        try:
            connection.request("PROPFIND", HOME, headers={"Depth": "0"})
            return connection.getresponse().status == 401
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def flags(self) -> list[str]:
        return [*super().flags(), f"--venv={self.place.venv}"]


# --- prepare ---------------------------------------------------------------------------------------------------------


def prepare(sandbox: Sandbox) -> None:
    sandbox.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with waiting_lock(sandbox.state / "prepare.lock"):
        installing = f"[1/2] installing Radicale by hash into {sandbox.venv} (about 5 s)"
        prepare_venv(sandbox.venv, REQUIREMENTS, run, partial(say, NAME, installing))
        wanted = fingerprint(ROOM / "seed.py", REQUIREMENTS)
        if sandbox.marker.exists() and sandbox.marker.read_text() == wanted:
            return
        say(NAME, "[2/2] making users and the home of the calendars")
        write_users(sandbox)
        write_conf(sandbox)
        run("seed", sandbox.python, ROOM / "seed.py", sandbox.conf, HOME)
        sandbox.marker.write_text(wanted)


def run(step: str, *command: str | Path, told: str = "") -> bytes:
    """Run one step and return what it printed; on failure show the end of that."""
    done = subprocess.run(
        [str(part) for part in command], input=told.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment(), check=False,
    )  # fmt: skip
    if done.returncode:
        tail = end_of(done.stdout.decode(errors="replace"))
        raise Stop(f"{step} failed (exit {done.returncode}):\n{tail}")
    return done.stdout


def environment() -> dict[str, str]:
    """What the server's own programs see: no stray settings of the caller, UTF-8 in a bare container too."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RADICALE_", "PYTHON"))}
    return kept | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


def write_users(sandbox: Sandbox) -> None:
    hashing = "import bcrypt, sys; print(bcrypt.hashpw(sys.stdin.buffer.read(), bcrypt.gensalt(6)).decode(), end='')"
    lines = [
        f"{name}:{run('hash', sandbox.python, '-c', hashing, told=password).decode()}\n"
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


# --- command line ----------------------------------------------------------------------------------------------------


def parse(asked: list[str]) -> tuple[str, Radicale]:
    parser = arguments(NAME, 5232, __doc__)
    parser.add_argument("--venv", type=Path, default=os.environ.get("HUB_RADICALE_VENV"), help="default: <state>/venv")
    given = parser.parse_args(asked)
    state = given.state.absolute()
    venv = (given.venv or state / "venv").absolute()
    return given.verb, Radicale(Sandbox(state=state, venv=venv, port=given.port))


if __name__ == "__main__":
    do(*parse(sys.argv[1:]))
