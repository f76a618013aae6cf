"""A day of polls, the clock in the test's hand: nothing of ours comes back, nothing of theirs is lost or told twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from chassis.database import new_id, utcnow
from hub_adapter.port import Change, Context, Page
from services.integrations.adapters import registry
from services.integrations.models import Conflict, Cursor, OwnWrite
from services.integrations.operations import inbound
from tests.service.integrations.conftest import CONFIRMED, CREATED, Hub
from tests.service.integrations.test_consent import GRANTED, REFUSED, contact
from tests.service.integrations.test_two_ways import connect, task, told
from tests.support import two_way
from tests.support.fake_target import FakeTarget, Row
from tests.support.two_way import TwoWayAdapter

EVERY = dt.timedelta(minutes=15)
POLLS_A_DAY = dt.timedelta(days=1) // EVERY
CUSTOMER = new_id()


class OverlappingAdapter(TwoWayAdapter):
    """Tells everything at each poll, as an overlap does that is longer than the day."""

    spec = type(TwoWayAdapter.spec)(**(vars(TwoWayAdapter.spec) | {
        "entities": (*TwoWayAdapter.spec.entities, "order"), "pulled": ("task", "order", "contact")}))

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        return super().changes(ctx, entity, None, limit)


class AtOnce:
    """Workers that are the caller."""

    def do(self, work: Any) -> None:
        """Do it now."""
        work()


def confirm(hub: Hub, version: int, id: str) -> None:
    hub.tell(CONFIRMED, id, version, number="SO-1", customer_id=CUSTOMER, note=f"第 {version} 次")


def consent(state: str) -> dict[str, Any]:
    return {"consent": {"email": {"state": state}}}


WRITTEN: dict[str, Callable[[Hub, int, str], object]] = {
    "task": lambda hub, version, id: task(hub, version, id, title=f"第 {version} 次"),
    "order": confirm,
    "contact": lambda hub, version, id: contact(hub, version, id, consent=GRANTED if version % 2 else REFUSED),
}
"""How the hub changes a record of each kind, version by version; every second one of a contact is a refusal."""
CHANGED: dict[str, Callable[[int], dict[str, Any]]] = {
    "task": lambda n: {"progress": n},
    "order": lambda n: {"shipments": n},
    "contact": lambda n: consent("refused" if n % 2 else "granted"),
}
"""What people at the target make of a record, time after time."""


def row_of(target: FakeTarget, entity: str, id: str) -> Row:
    [row] = [row for row in target.of(entity) if row.key == id]
    return row


def test_in_a_day_of_polls_each_foreign_change_comes_once_and_none_of_our_own(
    make_hub: Callable[..., Hub], target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.OURS, "two_way", f"{__name__}:OverlappingAdapter")
    monkeypatch.setitem(two_way.KEPT, "order", ("number", "note", "shipments"))
    registry.load.cache_clear()
    hub = make_hub(poll_every_s=EVERY.total_seconds())
    connection_id = connect(hub, target, *WRITTEN)
    hub.route(connection_id, "customer")
    poller = hub.engine.poller
    monkeypatch.setattr(poller, "run", lambda: None)  # it goes by the test's clock, not in the background
    hub.run()
    hub.tell(CREATED, CUSTOMER, name="李雷")
    ours, theirs = ({entity: new_id() for entity in WRITTEN} for _ in range(2))
    for entity, write in WRITTEN.items():
        for id in (ours[entity], theirs[entity]):
            write(hub, 1, id)
            hub.until(id, "delivered")
    now = utcnow()
    monkeypatch.setattr(poller, "_clock", lambda: now)
    monkeypatch.setattr(poller, "_workers", AtOnce())
    written, changed = 1, 0
    for number in range(1, POLLS_A_DAY + 1):
        now += EVERY
        if number % 12 == 0:
            written += 1
            for entity, write in WRITTEN.items():
                write(hub, written, ours[entity])
                hub.until(ours[entity], *["delivered"] * written)
        if number % 7 == 0:
            changed += 1
            for entity, change in CHANGED.items():
                target.put(entity, theirs[entity], row_of(target, entity, theirs[entity]).body | change(changed))
        poller.start_due()
        if number % 4 == 0:
            with hub.db.write() as session:
                inbound.forget(session, now)

    for entity, change in CHANGED.items():
        news = [one for one in told(hub) if one["entity"] == entity]
        assert {one["keys"]["id"] for one in news} == {theirs[entity]}
        assert [{name: one["record"][name] for name in change(0)} for one in news] == [
            change(n) for n in range(1, changed + 1)]
        assert (len(hub.deliveries(ours[entity])), len(hub.deliveries(theirs[entity]))) == (written, 1)
        assert change(changed).items() <= row_of(target, entity, theirs[entity]).body.items()
    assert row_of(target, "task", ours["task"]).body["title"] == f"第 {written} 次"
    assert row_of(target, "order", ours["order"]).body["note"] == f"第 {written} 次"
    assert written % 2, "the last word of the hub is a grant"
    assert row_of(target, "contact", ours["contact"]).body["consent"] == GRANTED
    assert hub.rows(Conflict) == []
    assert hub.ledger(connection_id).balanced
    assert {(cursor.failures, cursor.last_success_at) for cursor in hub.rows(Cursor)} == {(0, now)}
    # A day later nothing tells our writes any more but the state that was seen; it suffices.
    now += dt.timedelta(days=1)
    with hub.db.write() as session:
        inbound.forget(session, now)
    assert hub.rows(OwnWrite) == []
    poller.start_due()
    assert len(told(hub)) == changed * len(CHANGED)
