"""kill -9 of any one process, at any moment of the demo's flow, changes nothing in its outcome.

The oracle is outside: what the gateway acknowledged against what stands in the ERP, read over the ERP's own API.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hub.demo.order import OrderJob, OrderOutcome
from tests.support.local_hub import PROGRAMS, LocalHub, local_hub
from tests.support.postgres import Postgres, private_cluster
from tests.support.processes import eventually
from tests.support.rooms import SERVICES

MOMENTS_S = 2.5
"""The story takes about this long when nobody is killed: moments are drawn from it."""
DOWN_S = 1.0
"""How long the killed database server stays away; nobody but the test starts it again."""
SEED = 20261122
SERVER = "database-server"


@dataclass
class Site:
    """A hub, the database server that it keeps everything in (None with SQLite files), and what it acknowledged."""

    hub: LocalHub
    server: Postgres | None
    acknowledged: list[OrderOutcome] = field(default_factory=list)

    def tell(self) -> OrderOutcome:
        """Tell the story once, and remember what was acknowledged in it."""
        job = OrderJob(self.hub.door(), self.hub.erp(), self.hub.colleague(), lambda _: None)
        self.acknowledged.append(job.run())
        return self.acknowledged[-1]

    def end_of(self, program: str) -> Callable[[], None]:
        """Return what kills -9 the program that runs now. Its keeper starts it again."""
        if program == SERVER:
            return self.fall
        pid = self.hub.pids()[program]
        return lambda: os.kill(pid, signal.SIGKILL)

    def fall(self) -> None:
        """kill -9 the database server, and start it again."""
        assert self.server is not None
        self.server.kill()
        time.sleep(DOWN_S)
        self.server.start()


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
    """Give the one hub of this module on a database, its ERP connected and one order through."""
    # Not a parametrised fixture: pytest would mix the databases, and every change would start a new hub.
    sites = {"sqlite": Site(whole_hub, None)}
    with contextlib.ExitStack() as stack:

        def give(database: str) -> Site:
            if database not in sites:
                sites[database] = stack.enter_context(on_postgresql(tmp_path_factory.mktemp("hub") / "h"))
            if not sites[database].acknowledged:
                sites[database].tell()
            return sites[database]

        yield give


def assert_accounted_for(outcome: OrderOutcome) -> None:
    """What was acknowledged stands in the ERP, once, in its newest version, and the ledger adds up."""
    assert outcome.sales == 1, "lost or doubled"
    assert outcome.replayed, "the same key gave another answer"
    assert outcome.refused == "invalid_transition"
    assert outcome.renamed["name"].endswith(outcome.customer["name"].rpartition(" ")[2])
    assert outcome.fulfilled["status"] == "fulfilled", "shipped there, and not told here"
    assert outcome.ledger["balanced"]
    assert outcome.ledger["dead"] == 0


def moments() -> Iterator[Any]:
    chance = random.Random(SEED)
    for database, programs, times in (("sqlite", PROGRAMS, 3), ("postgresql", (SERVER, *PROGRAMS), 2)):
        for program in programs:
            for n in range(times + (program == SERVER)):
                moment_s = round(chance.uniform(0.05, MOMENTS_S), 2)
                fast = database == "sqlite" and n == 0 and program in ("broker", "sales", "integrations", "tryton")
                marks = () if fast else (pytest.mark.faults,)
                yield pytest.param(database, program, moment_s, id=f"{database}-{program}-{moment_s}s", marks=marks)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("database", "program", "moment_s"), list(moments()))
def test_the_story_ends_as_ever_when_one_process_is_killed(
    site_on: Callable[[str], Site], database: str, program: str, moment_s: float
) -> None:
    site = site_on(database)
    cut = threading.Timer(moment_s, site.end_of(program))
    began = time.monotonic()
    cut.start()
    outcome = site.tell()
    cut.join()
    eventually(lambda: site.hub.pids().keys() >= set(PROGRAMS), timeout_s=30)
    assert_accounted_for(outcome)
    print(f"{program} killed after {moment_s} s: the story took {time.monotonic() - began:.1f} s")  # noqa: T201


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.faults)])
def test_what_was_ever_acknowledged_stands_in_the_erp_once_and_in_its_newest_version(
    site_on: Callable[[str], Site], database: str
) -> None:
    """After all the kills: an order or a customer sent a second time long after the story would show here."""
    site = site_on(database)
    erp = site.hub.erp()
    for outcome in site.acknowledged:
        assert len(erp.sales(outcome.order["id"])) == 1
        parties = erp.parties(outcome.customer["id"])
        assert [party["name"] for party in parties] == [outcome.renamed["name"]]
