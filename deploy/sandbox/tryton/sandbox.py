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

import argparse
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import cluster
from layout import DATABASE, Sandbox, Stop, say, write_private

ROOM = Path(__file__).resolve().parent
REQUIREMENTS = ROOM / "requirements.txt"
MODULES = (
    "ir", "res", "party", "product", "account", "account_invoice", "account_invoice_stock", "stock", "sale",
    "web_shop", "marketing_email", "marketing_automation", "sale_opportunity",
)  # fmt: skip
READY_WITHIN_S = 60
STOPS_WITHIN_S = 15

Tell = Callable[[str], None]
"""Says that a step of the preparation begins."""


def fingerprint(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def run(sandbox: Sandbox, step: str, *command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run one step, its output kept in a log beside the state; on failure show the end of it."""
    log = sandbox.state / f"{step}.log"
    with log.open("wb") as sink:
        done = subprocess.run(
            [str(part) for part in command], stdout=sink, stderr=subprocess.STDOUT, env=env, check=False
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        raise Stop(f"{step} failed (exit {done.returncode}); the end of {log}:\n{tail}")


# --- prepare ---------------------------------------------------------------------------------------------------------


def prepare(sandbox: Sandbox) -> None:
    """Environment, tables and seed; seconds when they stand already, under a lock so that two callers do it once."""
    sandbox.state.mkdir(parents=True, exist_ok=True)
    sandbox.state.chmod(0o711)  # the cluster's OS user passes through; files inside are private one by one
    with waiting_lock(sandbox.state / "prepare.lock"):
        tell = steps(sandbox)
        prepare_venv(sandbox, tell)
        prepare_database(sandbox, tell)
        write_conf(sandbox)
        prepare_tables(sandbox, tell)
        prepare_seed(sandbox, tell)


def steps(sandbox: Sandbox) -> Tell:
    """Return what says that a step begins, as `[2/3] ...`: only the steps that will run are counted."""
    todo = [environment_missing(sandbox), sandbox.backend == "postgresql", tables_missing(sandbox),
            seed_missing(sandbox) or not sandbox.tables_marker.exists()]  # fmt: skip
    numbers = itertools.count(1)
    return lambda text: say(f"[{next(numbers)}/{sum(todo)}] {text}")


@contextlib.contextmanager
def waiting_lock(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def environment_missing(sandbox: Sandbox) -> bool:
    marker = sandbox.venv / ".complete"
    return not marker.exists() or marker.read_text() != fingerprint(REQUIREMENTS)


def prepare_venv(sandbox: Sandbox, tell: Tell) -> None:
    with waiting_lock(sandbox.venv.with_name(sandbox.venv.name + ".lock")):  # several sandboxes may share one venv
        if not environment_missing(sandbox):
            return
        if sandbox.venv.exists():
            if any(sandbox.venv.iterdir()) and not (sandbox.venv / "pyvenv.cfg").exists():
                raise Stop(f"{sandbox.venv} is not a virtual environment; name another with --venv")
            shutil.rmtree(sandbox.venv)
        tell(f"installing Tryton by hash into {sandbox.venv} (about 20 s)")
        try:
            run(sandbox, "venv", sys.executable, "-m", "venv", sandbox.venv)
        except Stop as error:
            shutil.rmtree(sandbox.venv, ignore_errors=True)
            raise Stop(f"{error}\nOn Debian or Ubuntu: apt-get install python3-venv") from None
        run(sandbox, "pip", sandbox.python, "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes",
            "--requirement", REQUIREMENTS)  # fmt: skip
        (sandbox.venv / ".complete").write_text(fingerprint(REQUIREMENTS))


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
    write_private(password_file, sandbox.password("admin") + "\n")
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
        env=sandbox.environment() | {"HUB_ERP_PASSWORD": sandbox.password("hub")})  # fmt: skip
    fresh.replace(sandbox.seed_file)
    sandbox.seed_marker.write_text(seed_wanted())


# --- serve -----------------------------------------------------------------------------------------------------------


def serve(sandbox: Sandbox) -> None:
    """Become the server. The lock taken here outlives exec, so `status` cannot mistake a recycled pid for ours."""
    if not sandbox.seed_marker.exists():
        raise Stop("nothing is prepared yet; run `prepare` first")
    lock = (sandbox.state / "server.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Stop(f"already running ({sandbox.url})") from None
    refuse_busy_port(sandbox.port)
    if sandbox.backend == "postgresql":
        try:
            sandbox.cluster.start()
        except cluster.ClusterError as error:
            raise Stop(str(error)) from None
    write_conf(sandbox)
    lock.truncate(0)
    lock.write(f"{os.getpid()} {sandbox.port}")
    lock.flush()
    os.set_inheritable(lock.fileno(), True)
    os.chdir(sandbox.state)
    # waitress, not `trytond`: the latter starts werkzeug's development server.
    os.execve(  # noqa: S606 - this process becomes the server
        sandbox.python,
        [str(sandbox.python), "-m", "waitress", f"--listen=127.0.0.1:{sandbox.port}", f"--threads={sandbox.threads}",
         "trytond.application:app"],
        sandbox.environment(),
    )  # fmt: skip


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
    say(f"ready at {sandbox.url}/{DATABASE}/ ; ids and REST key in {sandbox.seed_file}")


def wait_until_ready(sandbox: Sandbox, child: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        if child.poll() is not None:
            raise Stop("the server ended at once:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-12:]))
        if answers(sandbox.url):
            return
        time.sleep(0.2)
    child.terminate()
    raise Stop(f"no answer within {READY_WITHIN_S} s, see {log}")


def answers(url: str) -> bool:
    """Whether the ERP has loaded its modules and answers for the seeded database."""
    question = json.dumps({"id": 0, "method": "common.db.login", "params": ["nobody", {}, "en"]}).encode()
    request = urllib.request.Request(f"{url}/{DATABASE}/rpc/", question, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310 - our own loopback address
            return bool(reply.status == 200)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def stop(sandbox: Sandbox) -> None:
    if (alive := running(sandbox)) is not None and alive[0]:
        os.kill(alive[0], signal.SIGTERM)
        until = time.monotonic() + STOPS_WITHIN_S
        while running(sandbox) is not None:
            if time.monotonic() > until:
                os.kill(alive[0], signal.SIGKILL)
                until += STOPS_WITHIN_S
            time.sleep(0.05)
    if (sandbox.state / "pg").exists():
        sandbox.cluster.stop()
    say("stopped")


def purge(sandbox: Sandbox) -> None:
    stop(sandbox)
    shutil.rmtree(sandbox.state, ignore_errors=True)
    say(f"deleted {sandbox.state}")


def status(sandbox: Sandbox) -> None:
    if (alive := running(sandbox)) is None:
        print("tryton: stopped" + ("" if sandbox.seed_marker.exists() else " (not prepared)"))
        raise SystemExit(3)
    print(f"tryton: running, pid {alive[0]}, http://127.0.0.1:{alive[1]}/{DATABASE}/, {sandbox.backend}")


# --- command line ----------------------------------------------------------------------------------------------------

VERBS = {verb.__name__: verb for verb in (prepare, serve, start, stop, status, purge)}


def flags(sandbox: Sandbox) -> list[str]:
    return [
        f"--state={sandbox.state}",
        f"--venv={sandbox.venv}",
        f"--port={sandbox.port}",
        f"--backend={sandbox.backend}",
        f"--postgres-port={sandbox.postgres_port}",
        f"--threads={sandbox.threads}",
    ]


def parse(arguments: list[str]) -> tuple[str, Sandbox]:
    env = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--state", type=Path, default=Path(env("HUB_HOME", ".hub")) / "sandbox" / "tryton")
    parser.add_argument("--venv", type=Path, default=env("HUB_TRYTON_VENV"), help="default: <state>/venv")
    parser.add_argument("--port", type=int, default=int(env("HUB_TRYTON_PORT", "8010")))
    parser.add_argument("--backend", choices=("sqlite", "postgresql"), default=env("HUB_TRYTON_BACKEND"))
    parser.add_argument("--postgres-port", type=int, default=int(env("HUB_TRYTON_POSTGRES_PORT", "5453")))
    parser.add_argument("--threads", type=int, default=env("HUB_TRYTON_THREADS"), help="default: 1 on SQLite, else 8")
    given = parser.parse_args(arguments)
    state = given.state.absolute()
    made_with = state / "backend"
    backend = given.backend or (made_with.read_text() if made_with.exists() else "sqlite")
    venv = (given.venv or state / "venv").absolute()
    # Tryton guards a sale with row locks, which SQLite lacks: two confirmations at once make two invoices there.
    threads = given.threads or (1 if backend == "sqlite" else 8)
    return given.verb, Sandbox(
        state=state, venv=venv, port=given.port, postgres_port=given.postgres_port, backend=backend, threads=threads
    )


def main() -> None:
    verb, sandbox = parse(sys.argv[1:])
    try:
        VERBS[verb](sandbox)
    except Stop as error:
        sys.exit(f"tryton: {error}")
    except KeyboardInterrupt:
        sys.exit("tryton: interrupted; run the same command again to go on")


if __name__ == "__main__":
    main()
