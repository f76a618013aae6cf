"""Deleting what has changed at the target meanwhile, and identifiers as long as targets make them."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import new_id
from chassis.outbox import OUTBOX
from hub_adapter.port import Context, Written
from tests.service.integrations.conftest import Hub
from tests.service.integrations.test_two_ways import connect, poll, row_of, task, told
from tests.support.fake_target import FakeTarget
from tests.support.two_way import TwoWayAdapter

LONGEST = "040000008200E00074C5B7101A82E008" + "0" * 168


@pytest.fixture
def met(target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The versions that deletes named; a delete that names another than the target's is refused."""
    from hub_adapter.failure import VersionConflict

    named: list[str | None] = []
    delete = TwoWayAdapter.delete

    def conditional(self: TwoWayAdapter, ctx: Context, entity: str, external_id: str, **given: Any) -> Written:
        named.append(given["expected_version"])
        row = target.rows.get(external_id)
        if row is not None and given["expected_version"] != str(row.version):
            raise VersionConflict("another version stands here", http_status=412)
        return delete(self, ctx, entity, external_id, **given)

    monkeypatch.setattr(TwoWayAdapter, "delete", conditional)
    return named


def test_a_record_that_changed_there_is_read_again_and_deleted(
    hub: Hub, target: FakeTarget, met: list[str | None]
) -> None:
    connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    row = row_of(target, id)
    target.put("task", id, row.body | {"status": "done"})

    task(hub, 2, id, kind="deleted")

    hub.until(id, "delivered", "delivered")
    assert target.of("task") == []
    assert met == ["1", "2"]


def test_a_record_that_goes_while_it_is_read_again_is_deleted_all_the_same(
    hub: Hub, target: FakeTarget, met: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    target.put("task", id, row_of(target, id).body | {"status": "done"})
    get = TwoWayAdapter.get

    def gone_meanwhile(self: TwoWayAdapter, ctx: Context, entity: str, external_id: str) -> Any:
        target.remove(external_id)
        return get(self, ctx, entity, external_id)

    monkeypatch.setattr(TwoWayAdapter, "get", gone_meanwhile)
    task(hub, 2, id, kind="deleted")

    hub.until(id, "delivered", "delivered")
    assert met == ["1"]


def test_a_record_that_changes_each_time_is_given_up_for_now_after_three_more_tries(
    hub: Hub, target: FakeTarget, met: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    get = TwoWayAdapter.get

    def changed_after(self: TwoWayAdapter, ctx: Context, entity: str, external_id: str) -> Any:
        found = get(self, ctx, entity, external_id)
        target.put("task", id, row_of(target, id).body)
        return found

    target.put("task", id, row_of(target, id).body)
    monkeypatch.setattr(TwoWayAdapter, "get", changed_after)
    task(hub, 2, id, kind="deleted")

    hub.until(id, "delivered", "retry_wait")
    assert len(met) == 4
    monkeypatch.setattr(TwoWayAdapter, "get", get)
    hub.hurry(id)
    hub.until(id, "delivered", "delivered")
    assert target.of("task") == []


def test_a_record_whose_id_there_is_two_hundred_long_is_told_and_bound(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    row = target.put("task", "theirs", {"title": "买茶", "status": "open", "progress": 0})
    del target.rows[row.id]
    row.id = LONGEST
    target.rows[LONGEST] = row

    poll(hub, connection_id)

    assert [one["external_id"] for one in told(hub)] == [LONGEST]
    with hub.db.read() as session:
        assert all(len(subject) <= 80 for subject in session.scalars(sa.select(OUTBOX.c.subject)))
    ref = {"connection_id": connection_id, "external_id": LONGEST}
    id = new_id()
    task(hub, 1, id, title="买茶", origin=connection_id, external_ref=ref)
    hub.until(id, "skipped")
    assert hub.binding(id).external_id == LONGEST
