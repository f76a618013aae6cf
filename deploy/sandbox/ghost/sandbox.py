#!/usr/bin/env python3
"""A real Ghost 6.65 on this machine: a newsletter, for trying the hub against.

    sandbox.py prepare     install the program; nothing is left running
    sandbox.py serve       serve in the foreground (for a supervisor); needs `prepare`
    sandbox.py start       prepare, then serve in the background, wait until it answers, and seed it
    sandbox.py stop        stop what `start` or `serve` started
    sandbox.py status      one line; exit status 0 running, 3 stopped
    sandbox.py purge       stop, then delete all state

Every step is idempotent, so a first run that was cut off is finished by the next one. All state lies under
$HUB_HOME/sandbox/ghost (HUB_HOME defaults to ./.hub). The server listens on loopback only. Passwords are random, made
at the first start and kept with mode 0600. Only the standard library is used here.
"""

from __future__ import annotations

import argparse
import fcntl
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import program
from layout import Sandbox, Stop, say
from seed import seed

READY_WITHIN_S = 180
"""The first start makes the tables: 10 s, on busy cores a minute."""
STOPS_WITHIN_S = 20


def prepare(sandbox: Sandbox) -> None:
    sandbox.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    program.install(sandbox.app)
    with program.waiting_lock(sandbox.state / "prepare.lock"):
        if not sandbox.content.exists():
            fresh = sandbox.content.with_name("content.new")
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.copytree(sandbox.app / "package" / "content", fresh, symlinks=True)
            for folder in ("data", "logs"):
                (fresh / folder).mkdir(exist_ok=True)
            fresh.rename(sandbox.content)


def environment(sandbox: Sandbox) -> dict[str, str]:
    """What Ghost sees. Its settings are names with two underscores (docs.ghost.org/config)."""
    kept = {name: value for name, value in os.environ.items() if "__" not in name and not name.startswith("npm_")}
    return kept | {
        "PATH": f"{program.node_of(sandbox.app) / 'bin'}:{os.environ['PATH']}",
        "NODE_ENV": "development",
        "url": sandbox.url,
        "server__host": "127.0.0.1",
        "server__port": str(sandbox.port),
        "database__client": "better-sqlite3",
        "database__connection__filename": str(sandbox.content / "data" / "ghost.db"),
        "paths__contentPath": str(sandbox.content),
        "mail__options__host": "127.0.0.1",
        "mail__options__port": os.environ.get("HUB_GHOST_MAIL_PORT", "2525"),
        "security__allowWebhookInternalIPs": "true",  # the hub listens on loopback too
        "privacy__useUpdateCheck": "false",
        "logging__transports": '["stdout"]',
        "logging__level": "warn",
    }


def serve(sandbox: Sandbox) -> None:
    """Become the server. The lock taken here outlives exec, so `status` cannot mistake a recycled pid for ours."""
    if not sandbox.content.exists():
        raise Stop("nothing is prepared yet; run `prepare` first")
    lock = (sandbox.state / "server.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Stop(f"already running ({sandbox.url})") from None
    refuse_busy_port(sandbox.port)
    lock.truncate(0)
    lock.write(f"{os.getpid()} {sandbox.port}")
    lock.flush()
    os.set_inheritable(lock.fileno(), True)
    os.chdir(sandbox.app / "package")
    node = program.node_of(sandbox.app) / "bin" / "node"
    os.execve(node, [str(node), "index.js"], environment(sandbox))  # noqa: S606 - this process becomes the server


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
    seed(sandbox)
    say(f"ready at {sandbox.url}/ghost/ ; key, newsletter and webhook secret in {sandbox.seed_file}")


def wait_until_ready(sandbox: Sandbox, child: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        if child.poll() is not None:
            raise Stop("the server ended at once:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-12:]))
        if answers(sandbox.port):
            return
        time.sleep(0.2)
    child.terminate()
    raise Stop(f"no answer within {READY_WITHIN_S} s, see {log}")


def answers(port: int) -> bool:
    """Whether the site tells of itself; while its tables are made it answers 503."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ghost/api/admin/site/", headers={"Accept-Version": "v6.0"})
        return connection.getresponse().status == 200
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
        print("ghost: stopped" + ("" if sandbox.content.exists() else " (not prepared)"))
        raise SystemExit(3)
    print(f"ghost: running, pid {alive[0]}, http://127.0.0.1:{alive[1]}/ghost/")


# --- command line ----------------------------------------------------------------------------------------------------

VERBS = {verb.__name__: verb for verb in (prepare, serve, start, stop, status, purge)}


def flags(sandbox: Sandbox) -> list[str]:
    return [f"--state={sandbox.state}", f"--app={sandbox.app}", f"--port={sandbox.port}"]


def parse(arguments: list[str]) -> tuple[str, Sandbox]:
    env = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--state", type=Path, default=Path(env("HUB_HOME", ".hub")) / "sandbox" / "ghost")
    parser.add_argument("--app", type=Path, default=env("HUB_GHOST_APP"), help="default: <state>/app")
    parser.add_argument("--port", type=int, default=int(env("HUB_GHOST_PORT", "2368")))
    given = parser.parse_args(arguments)
    state = given.state.absolute()
    return given.verb, Sandbox(state=state, app=(given.app or state / "app").absolute(), port=given.port)


def main() -> None:
    verb, sandbox = parse(sys.argv[1:])
    try:
        VERBS[verb](sandbox)
    except Stop as error:
        sys.exit(f"ghost: {error}")
    except KeyboardInterrupt:
        sys.exit("ghost: interrupted; run the same command again to go on")


if __name__ == "__main__":
    main()
