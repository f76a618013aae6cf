"""kill -9 of any one process, at any moment of the demo's flow, changes nothing in its outcome.

The oracle is outside: what the gateway acknowledged against what stands in the ERP, read over the ERP's own API.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hub.demo.story import API, Story
from tests.support.local_hub import PROGRAMS, LocalHub
from tests.support.processes import eventually

MOMENTS_S = 2.5
"""The story takes about this long when nobody is killed: moments are drawn from it."""
SEED = 20261122


@pytest.fixture(scope="module")
def hub(whole_hub: LocalHub) -> LocalHub:
    """The hub, its ERP connected and one order through."""
    Story(whole_hub.door(), whole_hub.erp(), lambda _: None).run()
    return whole_hub


def killed_at(hub: LocalHub, program: str, moment_s: float) -> threading.Thread:
    """Kill `program` in `moment_s` seconds from now."""
    pid = hub.pids()[program]
    cut = threading.Timer(moment_s, lambda: os.kill(pid, signal.SIGKILL))
    cut.start()
    return cut


def assert_accounted_for(hub: LocalHub, story: Story) -> None:
    """What was acknowledged stands in the ERP, once, in its newest version, and the ledger adds up."""
    outcome = story.outcome
    assert outcome.sales == 1, "lost or doubled"
    assert outcome.replayed, "the same key gave another answer"
    assert outcome.refused == "invalid_transition"
    assert outcome.renamed["name"].endswith(outcome.customer["name"].rpartition(" ")[2])
    assert outcome.ledger["balanced"]
    assert outcome.ledger["dead"] == 0


def moments() -> Iterator[Any]:
    chance = random.Random(SEED)
    for program in PROGRAMS:
        for n in range(3):
            moment_s = round(chance.uniform(0.05, MOMENTS_S), 2)
            fast = n == 0 and program in ("broker", "sales", "integrations", "tryton")
            marks = () if fast else (pytest.mark.faults,)
            yield pytest.param(program, moment_s, id=f"{program}-{moment_s}s", marks=marks)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("program", "moment_s"), list(moments()))
def test_the_story_ends_as_ever_when_one_process_is_killed(hub: LocalHub, program: str, moment_s: float) -> None:
    story = Story(hub.door(), hub.erp(), lambda _: None)
    cut = killed_at(hub, program, moment_s)
    began = time.monotonic()
    story.run()
    cut.join()
    eventually(lambda: hub.pids().keys() >= set(PROGRAMS), timeout_s=30)
    assert_accounted_for(hub, story)
    print(f"{program} killed after {moment_s} s: the story took {time.monotonic() - began:.1f} s")  # noqa: T201


def test_every_order_that_was_ever_acknowledged_stands_in_the_erp_once(hub: LocalHub) -> None:
    door, erp = hub.door(), hub.erp()
    confirmed = [order["id"] for order in door.get(f"{API}/orders", status="confirmed", limit=200)["items"]]
    assert confirmed
    eventually(lambda: all(len(erp.sales(order)) == 1 for order in confirmed), timeout_s=60)
