"""`hub doctor`: everything that is known to go wrong on one machine, each with what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.local.broker import BrokerError, rabbitmq_server
from hub import databases, machine, readiness
from hub.bring_up import ROOM_NEEDED_MB
from hub.installation import Installation
from hub.keys import Keys
from hub.supervisor import Supervisor
from hub.trouble import Trouble

Verdict = Literal["ok", "note", "wrong"]
OLDEST_PYTHON = (3, 11)
NAMEKO = "2.14.1"
CLOCK_TOLERANCE_S = 60.0
UNSENT_TOLERANCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at.

    Attributes:
        verdict: `wrong` keeps the hub from working as it should; a `note` does not.
        remedy: what to do; empty when all is well.
    """

    subject: str
    verdict: Verdict
    text: str
    remedy: str = ""


def _ok(subject: str, text: str) -> Finding:
    return Finding(subject=subject, verdict="ok", text=text)


def _wrong(subject: str, trouble: Trouble) -> Finding:
    return Finding(subject=subject, verdict="wrong", text=trouble.problem, remedy=trouble.remedy)


def examine(hub: Installation) -> list[Finding]:
    """Look at everything; a check that itself fails is a finding too."""
    checks: tuple[Callable[[Installation], Iterator[Finding]], ...] = (
        _versions, _disk, _clock, _folders, _keys, _ports, _broker, _databases, _programs, _parked, _outboxes,
    )  # fmt: skip
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check(hub)
        except Trouble as trouble:
            findings.append(_wrong(check.__name__.strip("_"), trouble))
    return findings


def _versions(hub: Installation) -> Iterator[Finding]:
    yield (
        _ok("python", platform.python_version())
        if sys.version_info >= OLDEST_PYTHON
        else _wrong("python", Trouble(f"{platform.python_version()} is too old", "install Python 3.11 or newer"))
    )
    nameko = importlib.metadata.version("nameko")
    wrong = Trouble(f"nameko {nameko} is installed, {NAMEKO} is needed", "run deploy/local/bootstrap.sh")
    yield _ok("nameko", nameko) if nameko == NAMEKO else _wrong("nameko", wrong)
    if not hub.own_broker:
        return
    try:
        home = rabbitmq_server().resolve().parents[1]
        yield _ok("rabbitmq", home.name.removeprefix("rabbitmq_server-"))
    except BrokerError as error:
        yield _wrong("rabbitmq", Trouble(str(error).partition(":")[0], str(error).partition(": ")[2]))


def _disk(hub: Installation) -> Iterator[Finding]:
    free = machine.free_mb(hub.home)
    short = Trouble(f"{free} MB free at {hub.home}, {ROOM_NEEDED_MB} MB are needed", "free some before it is full")
    yield _ok("disk", f"{free} MB free") if free >= ROOM_NEEDED_MB else _wrong("disk", short)


def _clock(hub: Installation) -> Iterator[Finding]:
    newest = max((file.stat().st_mtime for file in (hub.home / "log").glob("*.log")), default=0.0)
    if newest > time.time() + CLOCK_TOLERANCE_S:
        remedy = "set the clock right (timedatectl set-ntp true), then restart the hub"
        yield _wrong("clock", Trouble("the clock went backwards: logs were written in the future", remedy))
        return
    if shutil.which("timedatectl") and Path("/run/systemd/system").exists():
        command = ["timedatectl", "show", "-p", "NTPSynchronized", "--value"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == "no":
            text, remedy = "the clock is not synchronised", "timedatectl set-ntp true: tokens allow for 60 s at most"
            yield Finding(subject="clock", verdict="note", text=text, remedy=remedy)
            return
    yield _ok("clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def _folders(hub: Installation) -> Iterator[Finding]:
    if not hub.home.exists():
        yield Finding(subject="home", verdict="note", text=f"{hub.home} does not exist yet", remedy="run hub up")
        return
    if not os.access(hub.home, os.W_OK):
        yield _wrong("home", Trouble(f"{hub.home} cannot be written", "set HUB_HOME to a folder of yours"))
        return
    open_to_others = [p for p in (hub.home, hub.home / "keys") if p.exists() and stat.S_IMODE(p.stat().st_mode) & 0o077]
    for folder in open_to_others:
        yield _wrong("home", Trouble(f"{folder} is open to others", f"chmod 700 {folder}"))
    if not open_to_others:
        yield _ok("home", str(hub.home))


def _keys(hub: Installation) -> Iterator[Finding]:
    keys = Keys.of(hub)
    if (lost := keys.lost(hub)) is not None:
        yield _wrong("keys", lost)
        return
    if not keys.master.exists() and not keys.signing.exists():
        yield Finding(subject="keys", verdict="note", text="no keys yet", remedy="run hub up, which makes them")
        return
    problems = keys.problems()
    yield from (_wrong("keys", problem) for problem in problems)
    if not problems:
        yield _ok("keys", f"master key and signing key below {keys.master.parent}")


def _ports(hub: Installation) -> Iterator[Finding]:
    states = Supervisor(hub).states()
    taken = False
    for program in hub.wanted():
        if (state := states.get(program.name)) is not None and state.pid is not None:
            continue
        for port, variable in hub.ports(program).items():
            if port and machine.port_is_taken(port):
                taken = True
                text = f"port {port} of {program.name} is taken by {machine.holder(port)}"
                yield _wrong("ports", Trouble(text, f"stop that, or set {variable}"))
    if not taken:
        yield _ok("ports", "free, or held by the hub")


def _broker(hub: Installation) -> Iterator[Finding]:
    from kombu import Connection

    if hub.own_broker and not hub.broker.status().running:
        yield Finding(subject="broker", verdict="note", text="the private broker is down", remedy="run hub up")
        return
    try:
        with Connection(hub.amqp_uri, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            properties = connection.connection.server_properties
            yield _ok("broker", f"{properties.get('product')} {properties.get('version')} answers")
    except Exception as error:  # whatever the client library raises, the broker cannot be used
        # The URI holds a password and is not shown.
        text = f"the broker refuses or does not answer ({type(error).__name__})"
        remedy = f"see {hub.broker.directory / 'log'}" if hub.own_broker else "correct AMQP_URI, or start that broker"
        yield _wrong("broker", Trouble(text, remedy))


def _databases(hub: Installation) -> Iterator[Finding]:
    for room, uri in databases.databases(hub).items():
        file = databases.sqlite_file(uri)
        if file is not None and not file.exists() and not Supervisor(hub).running():
            yield Finding(subject="database", verdict="note", text=f"{room} has none yet", remedy="run hub up")
            continue
        problem = databases.problem(room, uri)
        yield _wrong("database", problem) if problem else _ok("database", f"{room} is at the newest revision")


def _programs(hub: Installation) -> Iterator[Finding]:
    supervisor = Supervisor(hub)
    if not supervisor.running():
        orphans = supervisor.orphans()
        if orphans:
            text = f"{len(orphans)} processes run without their keeper (pids {', '.join(map(str, sorted(orphans)))})"
            yield _wrong("hub", Trouble(text, "run hub down, then hub up"))
        else:
            yield Finding(subject="hub", verdict="note", text="the hub is down", remedy="run hub up")
        return
    states = supervisor.states()
    for program in hub.wanted():
        state = states.get(program.name)
        lacks = readiness.missing(hub, program)
        if state is not None and state.state == "running" and lacks is None:
            yield _ok("hub", f"{program.name} is ready")
        else:
            word = state.state if state is not None else "not known"
            text = f"{program.name} is {word}{f' ({lacks})' if lacks else ''}"
            yield _wrong("hub", Trouble(text, f"look into {hub.home / 'log' / program.name}.log, then hub up"))


def _parked(hub: Installation) -> Iterator[Finding]:
    if any(finding.verdict != "ok" for finding in _broker(hub)):
        return  # and said so above
    from hub import listeners, parked

    found = [each for each in parked.look(hub, listeners.queues(hub), inside=False) if each.parked]
    for each in found:
        remedy = f"hub parked list says why; mend that, then hub parked return {each.queue}"
        if each.queue.startswith("rpc."):
            remedy = "find out who sends to the broker past the gateway; they are gone after a day"
        yield _wrong("parked", Trouble(f"{each.parked} in {each.queue}.dead", remedy))
    if not found:
        yield _ok("parked", "nothing is parked")


def _outboxes(hub: Installation) -> Iterator[Finding]:
    for room, uri in databases.databases(hub).items():
        if (standing := databases.outbox(uri)) is None:
            continue  # no database yet, or one that is named above
        for each in standing.refused:
            text = (f"{room}: no queue takes {each.routing_key}, {each.count} kept since {each.since:%m-%d %H:%M} UTC "
                    f"({each.reason})")
            # In its first minute it may just be that the listener starts.
            late = time.time() - each.since.timestamp() > UNSENT_TOLERANCE_S
            yield Finding(subject="outbox", verdict="wrong" if late else "note", text=text,
                          remedy="start the room that listens to it, once")
        if standing.waited_s > UNSENT_TOLERANCE_S:
            text = f"{room}: an event has waited to be sent for {standing.waited_s:.0f} s"
            yield _wrong("outbox", Trouble(text, "see whether broker and room run (hub status); nothing is lost"))
        elif not standing.refused:
            yield _ok("outbox", f"{room} has sent everything")
