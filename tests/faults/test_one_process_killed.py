"""kill -9 of any one process, or the loss of the broker, at any moment of a flow changes nothing in its outcome."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.local.broker import rabbitmq_server
from hub.readiness import missing
from tests.faults.stories import STORIES
from tests.support.local_hub import ROOMS, LocalHub, local_hub
from tests.support.postgres import Postgres, private_cluster
from tests.support.processes import eventually
from tests.support.rooms import SERVICES

SANDBOXES = ("tryton", "radicale")
PROGRAMS = ("broker", *ROOMS, *SANDBOXES)
DOWN_S = 1.0
"""How long the database server, or the broker's application, stays away; nobody but the test starts it again."""
SEED = 20261122
SERVER, CUT, APPLICATION = "database-server", "every-connection", "broker-application"
FAST = {("order", "broker"), ("order", "sales"), ("order", "integrations"), ("order", "tryton"), ("task", "tickets"),
        ("subscription", "customers")}
"""Kills that every run of the tests makes, at the first moment that is drawn for each."""
HEALED_WITHIN_S = {SERVER: 15.0, CUT: 10.0, APPLICATION: 10.0, **dict.fromkeys(("broker", *ROOMS), 30.0)}
"""From the end of a fault (a killed process is started by its keeper) until what had begun is under way again."""
REST_S = 5.0
"""What is left of a story after that, on a busy machine."""


@dataclass
class Site:
    """A hub, the database server that it keeps everything in (None with SQLite files), and what it acknowledged."""

    hub: LocalHub
    server: Postgres | None
    acknowledged: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in STORIES})
    over: float = 0.0
    """When the last fault was over, on the monotonic clock."""

    def tell(self, story: str, told: Callable[[str], None] = lambda _: None) -> Any:
        """Tell a story once, and remember what was acknowledged in it."""
        outcome = STORIES[story].tell(self.hub, told)
        self.acknowledged[story].append(outcome)
        return outcome

    def is_whole(self) -> bool:
        """Tell whether every program of the hub, sandboxes too, does its work."""
        installation = self.hub.installation
        return all(missing(installation, installation.programs[name]) is None for name in PROGRAMS)

    def fault(self, what: str) -> Callable[[], None]:
        """Return what makes a fault: kills -9 the program that runs now, which its keeper starts again, or else."""
        others = {SERVER: self._fall, CUT: self._cut, APPLICATION: self._stop_application}
        fault = others.get(what)
        if fault is None:
            pid = self.hub.pids()[what]
            fault = lambda: os.kill(pid, signal.SIGKILL)  # noqa: E731

        def make() -> None:
            fault()
            self.over = time.monotonic()

        return make

    def _fall(self) -> None:
        assert self.server is not None
        self.server.kill()
        time.sleep(DOWN_S)
        self.server.start()

    def _cut(self) -> None:
        self._rabbitmqctl("close_all_connections", "--global", "cut by a test")

    def _stop_application(self) -> None:
        self._rabbitmqctl("stop_app")
        time.sleep(DOWN_S)
        self._rabbitmqctl("start_app")

    def _rabbitmqctl(self, *arguments: str) -> None:
        environ = {**self.hub.installation.broker._environ(), "LANG": "C.UTF-8"}
        command = [str(rabbitmq_server().with_name("rabbitmqctl")), *arguments]
        # The story goes on meanwhile, so nothing here may block.
        process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        eventually(lambda: process.poll() is not None, timeout_s=60)
        assert process.returncode == 0, f"rabbitmqctl {' '.join(arguments)} ended with {process.returncode}"


@contextlib.contextmanager
def on_postgresql(home: Path) -> Iterator[Site]:
    """A whole hub on a cluster of its own, which may be killed."""
    with private_cluster() as server:
        for room in SERVICES:
            server.execute(f"CREATE DATABASE {room}")
        with local_hub(home, **{f"DB_URI_{room.upper()}": server.uri(room) for room in SERVICES}) as hub:
            yield Site(hub, server)


@pytest.fixture(scope="module")
def site_on(whole_hub: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Site]]:
    """Give the one hub of this module on a database, with an order through."""
    # Not a parametrised fixture: pytest would mix the databases, and every change would start a new hub.
    sites = {"sqlite": Site(whole_hub, None)}
    with contextlib.ExitStack() as stack:

        def give(database: str) -> Site:
            if database not in sites:
                sites[database] = stack.enter_context(on_postgresql(tmp_path_factory.mktemp("hub") / "h"))
            if not sites[database].acknowledged["order"]:
                sites[database].tell("order")
            return sites[database]

        yield give


def moments() -> Iterator[Any]:
    chance = random.Random(SEED)
    for database, others, times in (("sqlite", (CUT, APPLICATION), 2), ("postgresql", (SERVER,), 1)):
        for name, story in STORIES.items():
            for what in (*story.programs, *others):
                for n in range(times if what in PROGRAMS else 1):
                    moment_s = round(chance.uniform(0.05, story.lasts_s), 2)
                    fast = database == "sqlite" and n == 0 and (name, what) in FAST
                    marks = () if fast else (pytest.mark.faults,)
                    yield pytest.param(database, name, what, moment_s, id=f"{database}-{name}-{what}-{moment_s}s",
                                       marks=marks)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("database", "story", "what", "moment_s"), list(moments()))
def test_the_story_ends_as_ever_when_one_process_is_killed(
    site_on: Callable[[str], Site], database: str, story: str, what: str, moment_s: float
) -> None:
    site = site_on(database)
    eventually(site.is_whole, timeout_s=60)
    cut, begun = threading.Timer(moment_s, site.fault(what)), threading.Event()

    def begin(_step: str = "") -> None:
        if not begun.is_set():
            begun.set()
            cut.start()

    if what not in SANDBOXES:
        begin()  # a sandbox dies once its connection stands: none is set up to a target that does not answer
    outcomes = [site.tell(story, begin)]
    while cut.is_alive():  # on a fast machine the moment may lie in the next story
        if what in SANDBOXES:
            cut.join()
            eventually(site.is_whole, timeout_s=60)
        outcomes.append(site.tell(story))
    ended = time.monotonic()
    eventually(site.is_whole, timeout_s=60)
    for outcome in outcomes:
        STORIES[story].ended(outcome)
    took_s = max(0.0, ended - site.over)
    print(f"{story}: {what} hurt after {moment_s} s, ended {took_s:.1f} s after that was over")  # noqa: T201
    assert took_s < HEALED_WITHIN_S.get(what, 90.0) + REST_S


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.faults)])
def test_what_was_ever_acknowledged_stands_at_the_targets_once_and_in_its_newest_version(
    site_on: Callable[[str], Site], database: str
) -> None:
    """After all the kills: what was sent a second time long after its story would show here."""
    site = site_on(database)
    eventually(site.is_whole, timeout_s=60)
    for name in STORIES:
        if not site.acknowledged[name]:  # run alone, or without the kills that are in `make faults` only
            site.tell(name)
    for name, outcomes in site.acknowledged.items():
        for outcome in outcomes:
            STORIES[name].stands(site.hub, outcome)
