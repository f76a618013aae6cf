"""What changes at a target comes in: every change once, with its checkpoint, and only while somebody wants it."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
import sqlalchemy as sa

from chassis import owner
from chassis.database import utcnow
from chassis.outbox import OUTBOX
from contracts.errors import Conflict
from services.integrations.models import Cursor, Sighting
from services.integrations.operations import connections, pulls
from services.integrations.operations.claims import Lease
from services.integrations.operations.inbound import News, Reading
from services.integrations.queries import connections as connections_of
from tests.service.integrations.conftest import ADMIN, Hub
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually


def told(hub: Hub) -> list[dict[str, Any]]:
    with hub.db.read() as session:
        bodies = session.scalars(sa.select(OUTBOX.c.body).where(OUTBOX.c.routing_key == "external.changed")
                                 .order_by(OUTBOX.c.id))
        return [json.loads(body) for body in bodies]


def pull(hub: Hub, connection_id: str) -> None:
    with hub.db.write() as session:
        connection = connections_of.get(session, connection_id, ADMIN)
        assert pulls.now(session, connection, utcnow()) == ["product"]
    hub.engine.poller.wake()


def cursor(hub: Hub) -> Cursor:
    return hub.rows(Cursor)[0]  # type: ignore[no-any-return]


def test_every_product_is_told_once_over_many_pages_and_then_only_what_changed(hub: Hub, target: FakeTarget) -> None:
    for n in range(120):
        target.put("product", f"SKU-{n}", {"sku": f"SKU-{n}", "name": f"螺丝 {n}"})
    connection_id = hub.connect(target, "product", direction="pull")
    hub.run()
    eventually(lambda: len(told(hub)) == 120)
    eventually(lambda: cursor(hub).lease_owner is None)

    target.put("product", "SKU-7", {"sku": "SKU-7", "name": "renamed"})
    pull(hub, connection_id)
    eventually(lambda: len(told(hub)) == 121)

    first, last = [one for one in told(hub) if one["subject"] == told(hub)[-1]["subject"]]
    assert last["data"]["record"] == {"sku": "SKU-7", "name": "renamed"}
    assert last["origin"] == connection_id
    assert last["entityversion"] > first["entityversion"]


def test_a_change_that_is_reported_again_is_told_once(hub: Hub, target: FakeTarget) -> None:
    target.put("product", "A", {"sku": "A"})
    connection_id = hub.connect(target, "product", direction="pull")
    hub.run()
    eventually(lambda: len(told(hub)) == 1)
    eventually(lambda: cursor(hub).lease_owner is None)

    with hub.db.write() as session:
        session.execute(sa.update(Cursor).values(checkpoint=None))
    pull(hub, connection_id)
    hub.quiet(1.0)

    assert len(told(hub)) == 1
    assert len(hub.rows(Sighting)) == 1


def test_a_failed_poll_keeps_the_checkpoint_says_why_and_comes_back(hub: Hub, target: FakeTarget) -> None:
    target.put("product", "A", {"sku": "A"})
    target.fail(method="GET", entity="product", status=500)
    connection_id = hub.connect(target, "product", direction="pull")
    hub.run()
    eventually(lambda: cursor(hub).failures == 1)
    assert cursor(hub).checkpoint is None
    assert (cursor(hub).last_error or "").startswith("transient: the target answered 500")

    pull(hub, connection_id)

    eventually(lambda: len(told(hub)) == 1)
    assert (cursor(hub).failures, cursor(hub).last_error) == (0, None)


def test_a_reader_that_lost_its_cursor_records_nothing(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "product", direction="pull")
    late = pulls.Pull(connection_id=connection_id, entity="product", checkpoint=None, fence=0, failures=0)
    with hub.db.write() as session:
        session.execute(sa.update(Cursor).values(fence=1))
    news = [News(external_id="1", version="1", record={"sku": "A"})]

    with pytest.raises(pulls.LeaseLost), hub.db.write() as session:
        pulls.take_in(session, late, news, "9", Reading(since=utcnow(), now=utcnow()), lease_until=None,
                      next_due=utcnow())

    assert told(hub) == []
    assert cursor(hub).checkpoint is None


def test_what_a_killed_process_was_reading_is_read_by_another_without_waiting_for_its_lease(
    hub: Hub, target: FakeTarget
) -> None:
    target.put("product", "A", {"sku": "A"})
    hub.connect(target, "product", direction="pull")
    now = utcnow()
    host = owner.this_process().partition("/")[0]
    with hub.db.write() as session:
        [taken] = pulls.claim(session, 1, Lease(owner=f"{host}/99999999/1", until=now + dt.timedelta(minutes=1)), now)
    late = now + dt.timedelta(seconds=1)

    hub.run()

    eventually(lambda: len(told(hub)) == 1, 5)
    with pytest.raises(pulls.LeaseLost), hub.db.write() as session:
        pulls.take_in(session, taken, [News(external_id="1", version="9", record={"sku": "late"})], "9",
                      Reading(since=late, now=late), lease_until=None, next_due=late)


def test_a_paused_connection_is_not_asked_and_says_so(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "product", direction="pull")
    with hub.db.write() as session:
        connections.pause(session, {"id": connection_id, "reason": ""}, by=ADMIN)
    hub.run()
    target.put("product", "A", {"sku": "A"})

    with pytest.raises(Conflict, match="is paused"), hub.db.write() as session:
        pulls.now(session, connections_of.get(session, connection_id, ADMIN), utcnow())
    hub.quiet(1.5)

    assert told(hub) == []


def test_the_version_of_a_record_rises_with_each_change_whatever_the_clock_says(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "product", direction="pull")
    now = utcnow()
    for seen, step_h in (("a", 0), ("b", -1), ("b", 2), ("a", -1)):
        page = [News(external_id=id, version=seen, record={"sku": id}) for id in ("1", "2")]
        page.append(News(external_id="2", version=f"{seen}!", record={"sku": "2"}))
        with hub.db.write() as session:
            pull = pulls.Pull(connection_id=connection_id, entity="product", checkpoint=None, fence=0, failures=0)
            at = now + dt.timedelta(hours=step_h)
            pulls.take_in(session, pull, page, "9", Reading(since=at, now=at), lease_until=None, next_due=now)

    for id in ("1", "2"):
        versions = [one["entityversion"] for one in told(hub) if one["subject"] == id]
        assert len(set(versions)) == 3
        assert versions == sorted(versions)
