"""How far a run is: told as far as anybody knows, measured over work, and never all of it before its end."""

from __future__ import annotations

import datetime as dt

import pytest

from chassis.database import utcnow
from services.integrations.engine.runs import match, reconcile
from services.integrations.models import Run
from services.integrations.operations import runs
from services.integrations.operations.claims import Lease
from services.integrations.operations.runs import Step, Then
from services.integrations.queries.runs import told
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_backfill import FRESH, page, put, take
from tests.service.integrations.test_reconciling import World
from tests.support.fake_target import FakeTarget


def test_the_time_left_is_measured_over_work_and_not_over_a_night_of_waiting(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    put(hub, 100)
    run, now = hub.start_run(connection_id, "backfill", **FRESH), utcnow()

    def worked(then: Then, *, begun: dt.datetime, wait_s: float = 0.0) -> None:
        """Look at ten records in as many seconds."""
        until = begun + dt.timedelta(seconds=60)
        with hub.db.write() as session:
            [taken] = runs.claim(session, 9, Lease(owner="me", until=until), begun)
        with hub.db.write() as session:
            done = Step(then=then, counts={"seen": 10}, wait_s=wait_s)
            runs.record(session, taken, done, begun + dt.timedelta(seconds=10), until)

    worked("wait", begun=now, wait_s=10.0)
    assert (hub.the_run(run).percent, hub.the_run(run).seconds_left) == (10.0, 180)
    worked("ask", begun=now + dt.timedelta(hours=8))  # the connection was paused
    assert hub.the_run(run).seconds_left is None
    tomorrow = now + dt.timedelta(hours=24)
    with hub.db.write() as session:
        runs.approve(session, {"id": run, "count": 0}, tomorrow, by=ADMIN)
    assert (hub.the_run(run).percent, hub.the_run(run).seconds_left) == (20.0, 120)
    worked("wait", begun=tomorrow)
    assert (hub.the_run(run).percent, hub.the_run(run).seconds_left) == (30.0, 94)


def pages(hub: Hub, run_id: str) -> list[Run]:
    """Go on with a run to its end, approving what it asks; return how it stood after each page."""
    stood: list[Run] = []
    while (run := hub.the_run(run_id)).state != "completed":
        if run.state == "awaiting_approval":
            with hub.db.write() as session:
                runs.approve(session, {"id": run_id, "count": told(run)["to_confirm"]}, utcnow(), by=ADMIN)
        left: runs.Taken | None = take(hub)
        while left is not None:
            left = page(hub, left)
            stood.append(hub.the_run(run_id))
    return stood


@on_sqlite
@pytest.mark.parametrize(("kind", "after_all_was_seen"), [
    ("match", {"linking", "settling", "releasing"}), ("reconcile", {"asking", "mending"})])
def test_no_run_is_told_to_be_done_while_it_links_asks_or_mends(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch, kind: str, after_all_was_seen: set[str]
) -> None:
    world = World(hub, target)
    world.delete(world.ids[0])
    for n in range(3):
        world.known(name=f"never sent {n}")
    monkeypatch.setattr(match, "RECORDS", 2)
    monkeypatch.setattr(reconcile, "PAGE", 10)

    *going, ended = pages(hub, hub.start_run(world.connection_id, kind))

    assert (ended.percent, ended.seconds_left) == (100.0, None)
    assert any(run.percent is not None and 0 < run.percent < 100 for run in going)
    assert all(run.percent is None or run.percent < 100 for run in going)
    assert all(run.seconds_left is None or run.seconds_left > 0 for run in going)
    assert after_all_was_seen == {run.phase for run in going if run.phase in after_all_was_seen and run.percent is None}
