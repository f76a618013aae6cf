"""Whose a field is that both sides changed: ours, theirs, the latest, or a person's; and a record that has gone."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import new_id, utcnow
from contracts.errors import Conflict as Refused
from contracts.errors import Invalid
from services.integrations.models import Conflict, Finding, Route
from services.integrations.operations import disputes, routes
from tests.service.integrations.conftest import ADMIN, CONFIRMED, Hub, on_sqlite
from tests.service.integrations.test_conflicts import decide, refuse
from tests.service.integrations.test_two_ways import connect, poll, row_of, task, told
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually

TODAY, TOMORROW = "2026-11-22T08:00:00Z", "2026-11-23T08:00:00Z"
OWNED = ("title", "description", "due_at", "priority", "status", "completed_at")


def settle(hub: Hub, connection_id: str, entity: str = "task", **changes: Any) -> dict[str, Any]:
    """Change what one of the connection's routes says; return the route as it is shown."""
    with hub.db.write() as session:
        route = session.scalars(sa.select(Route).where(Route.connection_id == connection_id, Route.entity == entity)
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


def changed_on_both_sides(theirs_at: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every field of a task with an owner of its own, changed on both sides; completed_at here, status there alone."""
    ours = {"title": "我们的", "description": "我们的", "due_at": TODAY, "priority": "high", "completed_at": TODAY}
    theirs = {"title": "他们的", "description": "他们的", "due_at": TOMORROW, "priority": "low", "status": "done"}
    return ours | {"updated_at": TODAY}, theirs | {"changed_at": theirs_at}


@pytest.mark.parametrize(("theirs_at", "latest"), [(TOMORROW, TOMORROW), (TODAY, TODAY)])
@pytest.mark.parametrize("told_first", [False, True])
@on_sqlite
def test_what_both_sides_changed_goes_by_the_owner_of_the_field(
    hub: Hub, target: FakeTarget, synced: tuple[str, str], told_first: bool, theirs_at: str, latest: str
) -> None:
    connection_id, id = synced
    settle(hub, connection_id, owners={"title": "local", "description": "remote", "due_at": "latest",
                                       "priority": "manual"})
    ours, theirs = changed_on_both_sides(theirs_at)
    if told_first:
        target.fail(method="PUT", entity="task", status=503)
        task(hub, 2, id, **ours)
        hub.until(id, "delivered", "retry_wait")
        edit(target, id, **theirs)
        poll(hub, connection_id)
        hub.hurry(id)
    else:
        edit(target, id, **theirs)
        task(hub, 2, id, **ours)
    hub.until(id, "delivered", "delivered")

    body = row_of(target, id).body
    assert {name: body[name] for name in OWNED} == {
        "title": "我们的", "description": "他们的", "due_at": latest, "priority": "low", "status": "done",
        "completed_at": TODAY}
    heard = {name for one in told(hub) for name in one["changed"]} - {"changed_at"}
    assert heard == {"description", "status", *(["due_at"] if theirs_at > TODAY else [])}
    assert [(one.code, one.fields) for one in hub.rows(Conflict)] == [("changed_on_both_sides", ["priority"])]
    assert hub.ledger(connection_id).balanced


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
    hub.start(hub.engine.runner)
    hub.until_run(hub.start_run(connection_id, "dry_run", "task"), "completed")
    assert [one.fields for one in hub.rows(Finding)] == [["priority"]]
    [conflict] = hub.rows(Conflict)
    assert (conflict.code, conflict.fields, conflict.local_id) == ("changed_on_both_sides", ["title"], id)


@on_sqlite
@pytest.mark.parametrize("said", [{}, {"fields": [], "code": "version_conflict"}])
def test_a_field_in_dispute_stays_so_whatever_else_is_said_of_its_record(
    hub: Hub, target: FakeTarget, synced: tuple[str, str], said: dict[str, Any]
) -> None:
    connection_id, id = synced
    settle(hub, connection_id, owners={"title": "manual"})
    edit(target, id, title="他们的", status="cancelled")
    task(hub, 2, id, title="我们的")
    hub.until(id, "delivered", "delivered")

    refuse(hub, connection_id, row_of(target, id).id, id, **said)
    task(hub, 3, id, title="还是我们的", status="open", progress=50)
    hub.until(id, "delivered", "delivered", "delivered")

    body = row_of(target, id).body
    assert (body["title"], body["progress"]) == ("他们的", 50)
    assert said or body["status"] == "cancelled"
    [conflict] = hub.rows(Conflict)
    assert conflict.fields == (["title"] if said else ["title", "status"])


@on_sqlite
def test_a_change_there_of_a_field_that_our_waiting_write_leaves_alone_is_told(
    hub: Hub, target: FakeTarget, synced: tuple[str, str]
) -> None:
    connection_id, id = synced
    settle(hub, connection_id, owners={"status": "local"})
    refuse(hub, connection_id, row_of(target, id).id, id)
    target.fail(method="PUT", entity="task", status=503)
    task(hub, 2, id, status="cancelled")
    hub.until(id, "delivered", "retry_wait")

    edit(target, id, status="done")
    poll(hub, connection_id)

    assert [one["changed"] for one in told(hub)] == [["status"]]


@on_sqlite
def test_a_delete_that_was_refused_stays_what_a_person_is_asked_about(
    hub: Hub, target: FakeTarget, synced: tuple[str, str]
) -> None:
    connection_id, id = synced
    refuse(hub, connection_id, row_of(target, id).id, id, fields=[], code="delete_refused")
    with hub.db.write() as session:
        disputes.changed_on_both_sides(session, (connection_id, "task", row_of(target, id).id), id, ["title"], utcnow())

    [conflict] = hub.rows(Conflict)
    assert (conflict.code, conflict.fields, conflict.version) == ("delete_refused", [], 1)
    with pytest.raises(Refused, match="not made again"):
        decide(hub, "keep_remote")


@on_sqlite
def test_a_field_that_was_decided_goes_again_however_it_was(
    hub: Hub, target: FakeTarget, synced: tuple[str, str]
) -> None:
    connection_id, _id = synced
    settle(hub, connection_id, owners={"title": "manual"})
    for resolution, sent, stands in [("keep_local", 1, "我们的"), ("keep_remote", 0, "他们的"),
                                     ("dismissed", 0, "他们的")]:
        hub.until(id := task(hub), "delivered")
        edit(target, id, title="他们的")
        task(hub, 2, id, title="我们的")
        hub.until(id, "delivered", "delivered")

        decide(hub, resolution)

        hub.until(id, *["delivered"] * (2 + sent))
        assert row_of(target, id).body["title"] == stands
        assert [one["changed"] for one in told(hub) if one["keys"]["id"] == id] == (
            [["title"]] if resolution == "keep_remote" else [])
        task(hub, 3, id, title="最后")
        hub.until(id, *["delivered"] * (3 + sent))
        assert row_of(target, id).body["title"] == "最后"
    assert len(hub.rows(Conflict)) == 3


@on_sqlite
def test_a_route_shows_whose_each_field_is_and_takes_no_other(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")

    shown = settle(hub, connection_id, owners={"title": "latest", "status": "local"})

    assert shown["owners"] == {
        "completed_at": "remote", "description": "local", "due_at": "local", "priority": "local", "progress": "remote",
        "status": "local", "title": "latest"}
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"owners": {"assignee_id": "remote"}}, "unknown", "/changes/owners/assignee_id"),
        ({"owners": {"title": "remote"}, "direction": "push"}, "unsupported", "/changes/owners/title")]
    for changes, code, place in wrong:
        with pytest.raises(Invalid) as refused:
            settle(hub, connection_id, **changes)
        assert [(one["code"], one["pointer"]) for one in refused.value.fields["errors"]] == [(code, place)]
    assert settle(hub, connection_id, owners={})["owners"]["status"] == "remote"


@on_sqlite
def test_a_record_that_has_gone_there_is_made_anew_unless_a_person_is_to_be_asked(
    hub: Hub, target: FakeTarget, synced: tuple[str, str]
) -> None:
    _connection_id, id = synced
    target.remove(row_of(target, id).id)

    task(hub, 2, id, title="我们的")
    hub.until(id, "delivered", "retry_wait")
    hub.hurry(id)
    hub.until(id, "delivered", "delivered")

    assert [row.body["title"] for row in target.of("task")] == ["我们的"]
    assert hub.rows(Conflict) == []


@on_sqlite
def test_what_has_gone_there_is_made_anew_or_ended_here_as_a_person_decides(
    hub: Hub, target: FakeTarget, synced: tuple[str, str]
) -> None:
    connection_id, id = synced
    settle(hub, connection_id, on_missing="conflict")
    target.remove(row_of(target, id).id)
    task(hub, 2, id, title="我们的")
    hub.until(id, "delivered", "dead")
    assert [(one.code, one.local_id) for one in hub.rows(Conflict)] == [("missing_remote", id)]
    assert target.of("task") == []

    decide(hub, "keep_local")
    hub.until(id, "delivered", "dead", "delivered")
    assert [row.body["title"] for row in target.of("task")] == ["我们的"]

    target.remove(row_of(target, id).id)
    task(hub, 3, id, title="再一次")
    hub.until(id, "delivered", "dead", "delivered", "dead")
    decide(hub, "keep_remote")
    assert [(one["keys"]["id"], one["deleted"]) for one in told(hub)] == [(id, True)]


@on_sqlite
def test_a_record_that_has_gone_ends_here_as_a_whole_although_a_field_was_in_dispute(
    hub: Hub, target: FakeTarget, synced: tuple[str, str]
) -> None:
    connection_id, id = synced
    external_id = row_of(target, id).id
    refuse(hub, connection_id, external_id, id)
    target.remove(external_id)
    with hub.db.write() as session:
        disputes.found(session, "missing_remote", (connection_id, "task", external_id), id, utcnow())

    decide(hub, "keep_remote")

    assert [(one["changed"], one["deleted"]) for one in told(hub)] == [(None, True)]


@on_sqlite
def test_what_misses_a_record_that_has_gone_waits_for_the_person_who_is_asked(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", "order")
    settle(hub, connection_id, "customer", on_missing="conflict")
    target.needs["order"] = "customer"
    hub.run()
    hub.until(customer := hub.customer(), "delivered")
    target.rows.clear()

    hub.tell(CONFIRMED, order := new_id(), customer_id=customer, number="SO-1")
    hub.until(order, "blocked")
    hub.hurry(order)
    eventually(lambda: hub.deliveries(order)[0].deferrals == 2)
    assert (hub.states(order), hub.deliveries(order)[0].attempts, target.of("customer")) == (["blocked"], 0, [])
    decide(hub, "keep_local")

    hub.until(customer, "delivered", "delivered")
    hub.hurry(order)
    hub.until(order, "delivered")


@on_sqlite
def test_a_conflict_is_not_decided_in_a_way_that_touches_another_record(
    hub: Hub, target: FakeTarget, synced: tuple[str, str]
) -> None:
    connection_id, id = synced
    before = hub.binding(id).remote_version
    with hub.db.write() as session:
        disputes.found(session, "duplicate_remote", (connection_id, "task", "another"), id, utcnow())

    for resolution in ("keep_local", "keep_remote"):
        with pytest.raises(Refused, match="merge or delete one of the two there"):
            decide(hub, resolution)

    assert (hub.binding(id).remote_version, told(hub)) == (before, [])
    decide(hub, "dismissed")
