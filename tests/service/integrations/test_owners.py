"""Whose a field is that both sides changed: ours, theirs, the latest, or a person's; and a record that has gone."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import utcnow
from contracts.errors import Conflict as Refused
from contracts.errors import Invalid
from services.integrations.models import Conflict, Route
from services.integrations.operations import routes
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_conflicts import decide
from tests.service.integrations.test_two_ways import connect, poll, row_of, task, told
from tests.support.fake_target import FakeTarget

pytestmark = on_sqlite
YESTERDAY, TODAY, TOMORROW = (f"2026-11-2{day}T08:00:00Z" for day in (1, 2, 3))


def settle(hub: Hub, connection_id: str, **changes: Any) -> dict[str, Any]:
    """Change what the connection's route of tasks says; return the route as it is shown."""
    with hub.db.write() as session:
        route = session.scalars(sa.select(Route).where(Route.connection_id == connection_id, Route.entity == "task")
                                ).one()
        asked = {"id": route.id, "expected_version": route.version, "changes": changes}
        [shown] = routes.told(session, [routes.change(session, asked, by=ADMIN)])
    return shown


def edit(target: FakeTarget, id: str, **fields: Any) -> None:
    """Change a task as people do who work there."""
    target.put("task", id, row_of(target, id).body | fields)


@pytest.fixture
def synced(hub: Hub, target: FakeTarget) -> tuple[str, str]:
    """A task that stands on both sides: its connection and id."""
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    return connection_id, id


OWNERS = pytest.mark.parametrize(("owner", "theirs_at", "stands", "hears", "asked"), [
    ("local", TOMORROW, "我们的", ["priority"], []),
    ("remote", YESTERDAY, "他们的", ["priority", "title"], []),
    ("latest", TOMORROW, "他们的", ["priority", "title"], []),
    ("latest", TODAY, "我们的", ["priority"], []),
    ("latest", YESTERDAY, "我们的", ["priority"], []),
    ("manual", YESTERDAY, "他们的", ["priority"], [["title"]]),
])


@OWNERS
def test_a_write_that_meets_their_change_settles_each_field_by_its_owner(
    hub: Hub, target: FakeTarget, synced: tuple[str, str], owner: str, theirs_at: str, stands: str, hears: list[str],
    asked: list[list[str]]
) -> None:
    connection_id, id = synced
    settle(hub, connection_id, owners={"title": owner})
    edit(target, id, title="他们的", priority="low", changed_at=theirs_at)

    task(hub, 2, id, title="我们的", progress=50, updated_at=TODAY)
    hub.until(id, "delivered", "delivered")

    body = row_of(target, id).body
    assert (body["title"], body["priority"], body["progress"]) == (stands, "low", 50)
    assert [one["changed"] for one in told(hub)] == [hears]
    assert [one.fields for one in hub.rows(Conflict)] == asked
    assert hub.ledger(connection_id).balanced


@OWNERS
def test_a_change_that_is_told_before_ours_was_sent_settles_each_field_by_its_owner(
    hub: Hub, target: FakeTarget, synced: tuple[str, str], owner: str, theirs_at: str, stands: str, hears: list[str],
    asked: list[list[str]]
) -> None:
    connection_id, id = synced
    settle(hub, connection_id, owners={"title": owner})
    target.fail(method="PUT", entity="task", status=503)
    task(hub, 2, id, title="我们的", progress=50, updated_at=TODAY)
    hub.until(id, "delivered", "retry_wait")
    edit(target, id, title="他们的", priority="low", changed_at=theirs_at)

    poll(hub, connection_id)

    assert [set(one["changed"]) - {"changed_at"} for one in told(hub)] == [set(hears)]
    assert [one.fields for one in hub.rows(Conflict)] == asked
    hub.hurry(id)
    hub.until(id, "delivered", "delivered")
    assert row_of(target, id).body["title"] == stands
    assert [one.fields for one in hub.rows(Conflict)] == asked


def test_a_field_in_dispute_is_left_alone_on_both_sides_and_the_others_go_on(
    hub: Hub, target: FakeTarget, synced: tuple[str, str]
) -> None:
    connection_id, id = synced
    settle(hub, connection_id, owners={"title": "manual"})
    edit(target, id, title="他们的")
    task(hub, 2, id, title="我们的")
    hub.until(id, "delivered", "delivered")

    task(hub, 3, id, title="还是我们的", progress=50)
    hub.until(id, "delivered", "delivered", "delivered")
    assert (row_of(target, id).body["title"], row_of(target, id).body["progress"]) == ("他们的", 50)
    edit(target, id, title="还是他们的", priority="low")
    poll(hub, connection_id)
    assert [one["changed"] for one in told(hub)] == [["priority"]]
    task(hub, 4, id, title="还是我们的", progress=80)
    hub.until(id, "delivered", "delivered", "delivered", "delivered")

    assert (row_of(target, id).body["title"], row_of(target, id).body["progress"]) == ("还是他们的", 80)
    [conflict] = hub.rows(Conflict)
    assert (conflict.code, conflict.fields, conflict.local_id) == ("changed_on_both_sides", ["title"], id)


@pytest.mark.parametrize(("resolution", "sent", "stands", "hears"), [
    ("keep_local", 1, "我们的", []),
    ("keep_remote", 0, "他们的", [["title"]]),
    ("dismissed", 0, "他们的", []),
])
def test_a_field_that_was_decided_goes_again(
    hub: Hub, target: FakeTarget, synced: tuple[str, str], resolution: str, sent: int, stands: str,
    hears: list[list[str]]
) -> None:
    connection_id, id = synced
    settle(hub, connection_id, owners={"title": "manual"})
    edit(target, id, title="他们的")
    task(hub, 2, id, title="我们的")
    hub.until(id, "delivered", "delivered")

    decide(hub, resolution)

    hub.until(id, *["delivered"] * (2 + sent))
    assert row_of(target, id).body["title"] == stands
    assert [one["changed"] for one in told(hub)] == hears
    task(hub, 3, id, title="最后")
    hub.until(id, *["delivered"] * (3 + sent))
    assert row_of(target, id).body["title"] == "最后"
    assert len(hub.rows(Conflict)) == 1


def test_a_route_shows_whose_each_field_is_and_takes_no_other(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")

    shown = settle(hub, connection_id, owners={"title": "latest", "status": "local"})

    assert shown["owners"] == {
        "completed_at": "remote", "description": "local", "due_at": "local", "priority": "local", "progress": "remote",
        "status": "local", "title": "latest"}
    for changes, code, place in [
            ({"owners": {"assignee_id": "remote"}}, "unknown", "/changes/owners/assignee_id"),
            ({"owners": {"title": "remote"}, "direction": "push"}, "unsupported", "/changes/owners/title")]:
        with pytest.raises(Invalid) as refused:
            settle(hub, connection_id, **changes)
        assert [(one["code"], one["pointer"]) for one in refused.value.fields["errors"]] == [(code, place)]
    assert settle(hub, connection_id, owners={})["owners"]["status"] == "remote"


@pytest.mark.parametrize(("on_missing", "at_first", "then", "there"), [
    ("recreate", "retry_wait", "delivered", ["我们的"]), ("conflict", "dead", "dead", [])])
def test_a_record_that_has_gone_there_is_made_anew_or_a_person_is_asked(
    hub: Hub, target: FakeTarget, synced: tuple[str, str], on_missing: str, at_first: str, then: str,
    there: list[str]
) -> None:
    connection_id, id = synced
    settle(hub, connection_id, on_missing=on_missing)
    target.remove(row_of(target, id).id)

    task(hub, 2, id, title="我们的")
    hub.until(id, "delivered", at_first)
    hub.hurry(id)
    hub.until(id, "delivered", then)

    assert [row.body["title"] for row in target.of("task")] == there
    assert [one.code for one in hub.rows(Conflict)] == ["missing_remote"] * (on_missing == "conflict")
    assert hub.ledger(connection_id).balanced


def test_what_has_gone_there_is_made_anew_or_ended_here_as_a_person_decides(
    hub: Hub, target: FakeTarget, synced: tuple[str, str]
) -> None:
    connection_id, id = synced
    settle(hub, connection_id, on_missing="conflict")
    target.remove(row_of(target, id).id)
    task(hub, 2, id, title="我们的")
    hub.until(id, "delivered", "dead")

    decide(hub, "keep_local")
    hub.until(id, "delivered", "dead", "delivered")
    assert [row.body["title"] for row in target.of("task")] == ["我们的"]

    target.remove(row_of(target, id).id)
    task(hub, 3, id, title="再一次")
    hub.until(id, "delivered", "dead", "delivered", "dead")
    decide(hub, "keep_remote")
    assert [(one["keys"]["id"], one["deleted"]) for one in told(hub)] == [(id, True)]


@pytest.mark.parametrize(("code", "resolution", "said"), [
    ("duplicate_remote", "keep_local", "merge or delete one of the two there"),
    ("duplicate_remote", "keep_remote", "merge or delete one of the two there"),
    ("stale_binding", "keep_remote", "keep_local finds it by our key"),
    ("delete_refused", "keep_remote", "tries once more to take it away"),
])
def test_a_conflict_is_not_decided_in_a_way_that_touches_another_record(
    hub: Hub, target: FakeTarget, synced: tuple[str, str], code: str, resolution: str, said: str
) -> None:
    connection_id, id = synced
    before, now = hub.binding(id).remote_version, utcnow()
    with hub.db.write() as session:
        session.add(Conflict(
            connection_id=connection_id, entity="task", external_id="another", local_id=id, fields=[], code=code,
            reason="", opened_at=now, updated_at=now))

    with pytest.raises(Refused, match=said):
        decide(hub, resolution)

    assert (hub.binding(id).remote_version, told(hub)) == (before, [])
    decide(hub, "dismissed")
