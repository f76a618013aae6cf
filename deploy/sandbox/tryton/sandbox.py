#!/usr/bin/env python3
"""A real Tryton 8.2 ERP on this machine, for trying the hub against something that talks back.

    sandbox.py prepare     make the environment, the tables and the seed; nothing is left running
    sandbox.py serve       serve in the foreground (for a supervisor); needs `prepare`
    sandbox.py start       prepare, then serve in the background and wait until the ERP answers
    sandbox.py stop        stop what `start` or `serve` started (and its PostgreSQL cluster)
    sandbox.py status      one line; exit status 0 running, 3 stopped
    sandbox.py purge       stop, then delete all state

Every step is idempotent and leaves its marker last, so a first run that was cut off is finished by the next one.
All state lies under $HUB_HOME/sandbox/tryton (HUB_HOME defaults to ./.hub). The server listens on loopback only.
Passwords and the REST key are random, made at the first start and kept in files of mode 0600.

Only the standard library is used here; what the ERP needs is installed, by hash, into a virtual environment of its own.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cluster
from layout import DATABASE, NAME, Sandbox, say
from serving import (
    Server,
    Stop,
    arguments,
    do,
    end_of,
    fingerprint,
    prepare_venv,
    venv_missing,
    waiting_lock,
    write_private,
)

ROOM = Path(__file__).resolve().parent
REQUIREMENTS = ROOM / "requirements.txt"
MODULES = (
    "ir", "res", "party", "product", "account", "account_invoice", "account_invoice_stock", "stock", "sale",
    "web_shop", "marketing_email", "marketing_automation", "sale_opportunity",
)  # fmt: skip

Tell = Callable[[str], None]
"""Says that a step of the preparation begins."""


class Tryton(Server[Sandbox]):
    """The ERP."""

    name = NAME
    script = Path(__file__).resolve()
    path = f"/{DATABASE}/"
    kept = "ids and REST key"
    ready_within_s = 60
    stops_within_s = 15

    def prepared(self) -> bool:
        return self.place.seed_marker.exists()

    def prepare(self) -> None:
        """Environment, tables and seed; seconds when they stand already, under a lock so that two do it once."""
        prepare(self.place)

    def before_serving(self) -> None:
        if self.place.backend == "postgresql":
            try:
                self.place.cluster.start()
            except cluster.ClusterError as error:
                raise Stop(str(error)) from None
        write_conf(self.place)

    def command(self) -> list[str]:
        # waitress, not `trytond`: the latter starts werkzeug's development server.
        return [str(self.place.python), "-m", "waitress", f"--listen=127.0.0.1:{self.place.port}",
                f"--threads={self.place.threads}", "trytond.application:app"]  # fmt: skip

    def environment(self) -> dict[str, str]:
        return self.place.environment()

    def answers(self) -> bool:
        """Whether the ERP has loaded its modules and answers for the seeded database."""
        question = json.dumps({"id": 0, "method": "common.db.login", "params": ["nobody", {}, "en"]}).encode()
        address, headers = f"{self.place.url}/{DATABASE}/rpc/", {"Content-Type": "application/json"}
        request = urllib.request.Request(address, question, headers)  # noqa: S310 - our own loopback address
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310
                return bool(reply.status == 200)
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False

    def after_stopping(self) -> None:
        if (self.place.state / "pg").exists():
            self.place.cluster.stop()

    def details(self) -> str:
        return f", {self.place.backend}"

    def flags(self) -> list[str]:
        place = self.place
        return [*super().flags(), f"--venv={place.venv}", f"--backend={place.backend}",
                f"--postgres-port={place.postgres_port}", f"--threads={place.threads}"]  # fmt: skip


# --- prepare ---------------------------------------------------------------------------------------------------------


def prepare(sandbox: Sandbox) -> None:
    sandbox.state.mkdir(parents=True, exist_ok=True)
    sandbox.state.chmod(0o711)  # the cluster's OS user passes through; files inside are private one by one
    with waiting_lock(sandbox.state / "prepare.lock"):
        tell = steps(sandbox)
        prepare_venv(sandbox.venv, REQUIREMENTS, partial(run, sandbox),
                     partial(tell, f"installing Tryton by hash into {sandbox.venv} (about 20 s)"))  # fmt: skip
        prepare_database(sandbox, tell)
        write_conf(sandbox)
        prepare_tables(sandbox, tell)
        prepare_seed(sandbox, tell)


def steps(sandbox: Sandbox) -> Tell:
    """Return what says that a step begins, as `[2/3] ...`: only the steps that will run are counted."""
    todo = [venv_missing(sandbox.venv, REQUIREMENTS), sandbox.backend == "postgresql", tables_missing(sandbox),
            seed_missing(sandbox) or not sandbox.tables_marker.exists()]  # fmt: skip
    numbers = itertools.count(1)
    return lambda text: say(f"[{next(numbers)}/{sum(todo)}] {text}")


def prepare_database(sandbox: Sandbox, tell: Tell) -> None:
    """An empty database to make tables in; what a cut-off run left half made is removed first."""
    chosen = sandbox.state / "backend"
    if chosen.exists() and chosen.read_text() != sandbox.backend:
        raise Stop(f"this sandbox was made with {chosen.read_text()}; `purge` it before changing the backend")
    chosen.write_text(sandbox.backend)
    half_made = not sandbox.tables_marker.exists()
    if half_made:
        sandbox.seed_marker.unlink(missing_ok=True)
        sandbox.seed_file.unlink(missing_ok=True)
    if sandbox.backend == "postgresql":
        tell("PostgreSQL cluster")
        try:
            sandbox.cluster.start()
            if half_made:
                sandbox.cluster.drop_database(DATABASE)
            sandbox.cluster.create_database(DATABASE)
        except cluster.ClusterError as error:
            raise Stop(str(error)) from None
        return
    sandbox.sqlite_file.parent.mkdir(mode=0o700, exist_ok=True)
    if half_made:
        for leftover in sandbox.sqlite_file.parent.glob(f"{DATABASE}.sqlite*"):
            leftover.unlink()
        sandbox.sqlite_file.touch(mode=0o600)  # trytond-admin takes only a file that exists, even empty


def write_conf(sandbox: Sandbox) -> None:
    uri = sandbox.cluster.uri if sandbox.backend == "postgresql" else "sqlite://"
    write_private(
        sandbox.conf,
        f"""[web]
listen = 127.0.0.1:{sandbox.port}
hostname = 127.0.0.1:{sandbox.port}
[database]
uri = {uri}
path = {sandbox.sqlite_file.parent}
[email]
uri = {os.environ.get("HUB_TRYTON_MAIL_URI", "smtp://127.0.0.1:2525")}
from = erp@example.test
[marketing]
email_from = news@example.test
""",
    )


def tables_missing(sandbox: Sandbox) -> bool:
    marker = sandbox.tables_marker
    return not marker.exists() or marker.read_text() != fingerprint(REQUIREMENTS)


def prepare_tables(sandbox: Sandbox, tell: Tell) -> None:
    """Create the tables, or update them in place when the pinned modules changed since."""
    if not tables_missing(sandbox):
        return
    tell("making the ERP's tables (about 20 s)")
    password_file = sandbox.state / "admin.password"
    write_private(password_file, sandbox.secret("admin") + "\n")
    try:
        run(sandbox, "tables", sandbox.venv / "bin" / "trytond-admin", "-c", sandbox.conf, "-d", DATABASE,
            "-u", *MODULES, "--activate-dependencies", "--email", "admin@example.test",
            env=sandbox.environment() | {"TRYTONPASSFILE": str(password_file)})  # fmt: skip
    finally:
        password_file.unlink()
    sandbox.tables_marker.write_text(fingerprint(REQUIREMENTS))


def seed_wanted() -> str:
    return f"{fingerprint(ROOM / 'seed.py')} {time.strftime('%Y')}"


def seed_missing(sandbox: Sandbox) -> bool:
    marker = sandbox.seed_marker
    return not sandbox.seed_file.exists() or not marker.exists() or marker.read_text() != seed_wanted()


def prepare_seed(sandbox: Sandbox, tell: Tell) -> None:
    """Company, products, stock, the hub's user; again when seed.py changed or a new year needs a fiscal year."""
    if not seed_missing(sandbox):
        return
    tell("seeding company, products, stock and the hub's user (about 5 s)")
    fresh = sandbox.state / "seed.json.new"
    write_private(fresh, "")
    run(sandbox, "seed", sandbox.python, ROOM / "seed.py", sandbox.conf, DATABASE, fresh,
        env=sandbox.environment() | {"HUB_ERP_PASSWORD": sandbox.secret("hub")})  # fmt: skip
    fresh.replace(sandbox.seed_file)
    sandbox.seed_marker.write_text(seed_wanted())


def run(sandbox: Sandbox, step: str, *command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run one step, its output kept in a log beside the state; on failure show the end of it."""
    log = sandbox.state / f"{step}.log"
    with log.open("wb") as sink:
        done = subprocess.run(
            [str(part) for part in command], stdout=sink, stderr=subprocess.STDOUT, env=env, check=False
        )
    if done.returncode:
        tail = end_of(log.read_text(errors="replace"))
        raise Stop(f"{step} failed (exit {done.returncode}); the end of {log}:\n{tail}")


# --- command line ----------------------------------------------------------------------------------------------------


def parse(asked: list[str]) -> tuple[str, Tryton]:
    parser = arguments(NAME, 8010, __doc__)
    env = os.environ.get
    parser.add_argument("--venv", type=Path, default=env("HUB_TRYTON_VENV"), help="default: <state>/venv")
    parser.add_argument("--backend", choices=("sqlite", "postgresql"), default=env("HUB_TRYTON_BACKEND"))
    parser.add_argument("--postgres-port", type=int, default=int(env("HUB_TRYTON_POSTGRES_PORT", "5453")))
    parser.add_argument("--threads", type=int, default=env("HUB_TRYTON_THREADS"), help="default: 1 on SQLite, else 8")
    given = parser.parse_args(asked)
    state = given.state.absolute()
    made_with = state / "backend"
    backend = given.backend or (made_with.read_text() if made_with.exists() else "sqlite")
    venv = (given.venv or state / "venv").absolute()
    # Tryton guards a sale with row locks, which SQLite lacks: two confirmations at once make two invoices there.
    threads = given.threads or (1 if backend == "sqlite" else 8)
    return given.verb, Tryton(Sandbox(state=state, venv=venv, port=given.port, postgres_port=given.postgres_port,
                                      backend=backend, threads=threads))  # fmt: skip


if __name__ == "__main__":
    do(*parse(sys.argv[1:]))
