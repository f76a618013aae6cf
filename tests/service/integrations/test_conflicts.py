"""Where a side refuses what the other says: one conflict, a reason, and a person's decision that takes effect."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.database import new_id, utcnow
from chassis.paging import Sealer
from contracts.errors import Conflict as Refused
from contracts.errors import InvalidTransition
from services.integrations.engine import decisions
from services.integrations.models import Conflict, Sighting
from services.integrations.operations import disputes
from services.integrations.queries import conflicts as queries
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_two_ways import connect, poll, row_of, task, told
from tests.support.fake_target import FakeTarget
from tests.support.two_way import TwoWayAdapter


def refuse(hub: Hub, connection_id: str, external_id: str, local_id: str | None, **said: Any) -> None:
    with hub.db.write() as session:
        disputes.refused(session, {
            "connection_id": connection_id, "entity": "task", "external_id": external_id, "local_id": local_id,
            "fields": ["status"], "code": "invalid_transition", "reason": "cancelled stays cancelled",
            "remote_version": "2", **said}, utcnow())


def decide(hub: Hub, resolution: str) -> Conflict:
    id = hub.rows(Conflict)[-1].id
    decided, woken = decisions.decide(hub.db, hub.keyring, {"id": id, "resolution": resolution, "note": "checked"}, 10,
                                      by=ADMIN, keep=lambda session, answer: None)
    hub.engine.wake(woken)
    return decided


@pytest.fixture
def disputed(hub: Hub, target: FakeTarget) -> tuple[str, str]:
    """A task that they ticked off and whose owner refuses that: its connection and id."""
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub, status="cancelled")
    hub.until(id, "delivered")
    target.put("task", id, row_of(target, id).body | {"status": "done"})
    poll(hub, connection_id)
    refuse(hub, connection_id, row_of(target, id).id, id)
    return connection_id, id


def test_a_refusal_opens_one_conflict_and_the_next_renews_it(
    hub: Hub, target: FakeTarget, disputed: tuple[str, str]
) -> None:
    connection_id, id = disputed

    refuse(hub, connection_id, row_of(target, id).id, id, reason="still cancelled", fields=["status", "progress"])

    [conflict] = hub.rows(Conflict)
    assert (conflict.state, conflict.version, conflict.reason) == ("open", 2, "still cancelled")
    assert conflict.fields == ["status", "progress"]
    with hub.db.read() as session:
        asked = {"state": "open", "local_id": id, "limit": 10, "cursor": None}
        codec: Sealer = hub.codec
        assert [one.id for one in queries.listed(session, asked, ADMIN, codec).items] == [conflict.id]


def test_keep_local_brings_our_record_there_over_theirs(
    hub: Hub, target: FakeTarget, disputed: tuple[str, str]
) -> None:
    connection_id, id = disputed

    decided = decide(hub, "keep_local")

    assert (decided.state, decided.resolution, decided.note, decided.resolved_by) == (
        "resolved", "keep_local", "checked", ADMIN.id)
    hub.until(id, "delivered", "delivered")
    assert row_of(target, id).body["status"] == "cancelled"
    poll(hub, connection_id)
    assert len(told(hub)) == 1
    assert hub.ledger(connection_id).balanced


def test_keep_remote_tells_the_owner_again_what_stands_there_now(
    hub: Hub, target: FakeTarget, disputed: tuple[str, str]
) -> None:
    _connection_id, id = disputed
    target.put("task", id, row_of(target, id).body | {"status": "in_progress", "title": "别的"})

    decide(hub, "keep_remote")

    again = told(hub)[-1]
    assert (again["keys"], again["changed"], again["record"]["status"]) == ({"id": id}, ["status"], "in_progress")
    assert len(told(hub)) == 2


def test_keep_remote_never_tells_an_older_reading_than_one_that_was_taken_in_meanwhile(
    hub: Hub, target: FakeTarget, disputed: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id, id = disputed
    get = TwoWayAdapter.get

    def read_then_overtaken(*given: Any) -> Any:
        found = get(*given)
        monkeypatch.setattr(TwoWayAdapter, "get", get)
        target.put("task", id, row_of(target, id).body | {"status": "in_progress"})
        poll(hub, connection_id)
        return found

    monkeypatch.setattr(TwoWayAdapter, "get", read_then_overtaken)
    decide(hub, "keep_remote")

    assert [one["record"]["status"] for one in told(hub)] == ["done", "in_progress", "in_progress"]
    [sighting] = hub.rows(Sighting)
    assert sighting.remote_version == str(row_of(target, id).version)


@on_sqlite
def test_keep_remote_waits_for_a_delivery_that_may_change_what_it_would_keep(
    hub: Hub, target: FakeTarget, disputed: tuple[str, str]
) -> None:
    _connection_id, id = disputed
    target.fail(method="PUT", entity="task", drop="after")
    task(hub, 2, id, title="别的")
    hub.until(id, "delivered", "in_doubt")

    with pytest.raises(Refused, match="on its way"):
        decide(hub, "keep_remote")

    assert hub.rows(Conflict)[0].state == "open"


def test_a_conflict_is_decided_once_and_a_target_that_is_away_decides_nothing(
    hub: Hub, target: FakeTarget, disputed: tuple[str, str]
) -> None:
    target.fail(method="GET", entity="task", status=500, times=5)
    with pytest.raises(Refused, match="could not be asked: the target answered 500"):
        decide(hub, "keep_remote")
    assert hub.rows(Conflict)[0].state == "open"

    decide(hub, "dismissed")

    with pytest.raises(InvalidTransition):
        decide(hub, "keep_local")
    refuse(hub, disputed[0], "other", None)
    with pytest.raises(Refused, match="No record of the hub is bound"):
        decide(hub, "keep_local")


def test_what_the_target_does_not_let_go_is_a_conflict(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    target.fail(method="DELETE", entity="task", status=422, message="it is signed")

    task(hub, 2, id, kind="deleted")
    hub.until(id, "delivered", "dead")

    [conflict] = hub.rows(Conflict)
    assert (conflict.code, conflict.local_id) == ("delete_refused", id)
    assert "it is signed" in conflict.reason
    decide(hub, "keep_local")
    hub.until(id, "delivered", "dead", "delivered")
    assert target.of("task") == []
    assert hub.ledger(connection_id).balanced


def test_a_record_that_was_to_go_is_not_brought_back_for_another_reason(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    target.fail(method="DELETE", entity="task", status=422, message="it is signed")
    task(hub, 2, id, kind="deleted")
    hub.until(id, "delivered", "dead")
    refuse(hub, connection_id, row_of(target, id).id, id, code="shipped_after_cancelling")

    decide(hub, "keep_local")

    hub.until(id, "delivered", "dead", "delivered")
    assert target.of("task") == []


def test_a_refusal_from_a_connection_that_is_gone_is_no_poison(hub: Hub) -> None:
    refuse(hub, new_id(), "1", None)

    assert hub.rows(Conflict) == []
