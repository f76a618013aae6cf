"""A day of polls, the clock in the test's hand: nothing of ours comes back, nothing of theirs is lost or told twice."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from chassis.database import utcnow
from hub_adapter.port import Change, Context, Page
from services.integrations.adapters import registry
from services.integrations.models import Conflict, Cursor, OwnWrite
from services.integrations.operations import inbound
from tests.service.integrations.conftest import Hub
from tests.service.integrations.test_two_ways import connect, row_of, task, told
from tests.support.fake_target import FakeTarget
from tests.support.two_way import TwoWayAdapter

POLLS_A_DAY = 24 * 60


class OverlappingAdapter(TwoWayAdapter):
    """Tells everything at each poll, as an overlap does that is longer than the day."""

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        return super().changes(ctx, entity, None, limit)


class AtOnce:
    """Workers that are the caller."""

    def do(self, work: Any) -> None:
        """Do it now."""
        work()


@pytest.mark.parametrize("db_uri", ["sqlite"], indirect=True)
def test_in_a_day_of_polls_each_foreign_change_comes_once_and_none_of_our_own(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.OURS, "two_way", f"{__name__}:OverlappingAdapter")
    registry.load.cache_clear()
    connection_id = connect(hub, target, "task")
    ours, theirs = task(hub), task(hub)
    poller = hub.engine.poller
    monkeypatch.setattr(poller, "run", lambda: None)  # it goes by the test's clock, not in the background
    hub.run()
    for id in (ours, theirs):
        hub.until(id, "delivered")
    now = utcnow()
    monkeypatch.setattr(poller, "_clock", lambda: now)
    monkeypatch.setattr(poller, "_workers", AtOnce())
    assert hub.settings.poll_every_s * POLLS_A_DAY == dt.timedelta(days=1).total_seconds()
    written, changed = 1, 0
    for minute in range(1, POLLS_A_DAY + 1):
        now += dt.timedelta(minutes=1)
        if minute % 180 == 0:
            written += 1
            task(hub, written, ours, title=f"第 {written} 次")
            hub.until(ours, *["delivered"] * written)
        if minute % 97 == 0:
            changed += 1
            target.put("task", theirs, row_of(target, theirs).body | {"progress": changed})
        poller.start_due()
        if minute % 60 == 0:
            with hub.db.write() as session:
                inbound.forget(session, now)

    assert [one["record"]["progress"] for one in told(hub)] == list(range(1, changed + 1))
    assert {one["keys"]["id"] for one in told(hub)} == {theirs}
    assert (len(hub.deliveries(ours)), len(hub.deliveries(theirs))) == (written, 1)
    assert row_of(target, ours).body["title"] == f"第 {written} 次"
    assert row_of(target, theirs).body["progress"] == changed
    assert hub.rows(Conflict) == []
    assert hub.ledger(connection_id).balanced
    [cursor] = hub.rows(Cursor)
    assert (cursor.failures, cursor.last_success_at) == (0, now)
    # A day later nothing tells our writes any more but the state that was seen; it suffices.
    now += dt.timedelta(days=1)
    with hub.db.write() as session:
        inbound.forget(session, now)
    assert hub.rows(OwnWrite) == []
    poller.start_due()
    assert len(told(hub)) == changed
