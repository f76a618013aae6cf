"""A route that only wrote is turned to read as well: it begins with what stands there, and loses no refusal."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import utcnow
from contracts.errors import Invalid, StaleVersion
from hub_adapter.port import Written
from services.integrations.models import Cursor, Route
from services.integrations.operations import accounts, pulls, routes
from services.integrations.operations.inbound import News, Reading
from services.integrations.queries import routes as queries
from services.integrations.queries.statements import table_of
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_consent import GRANTED, contact, subscriber
from tests.service.integrations.test_two_ways import ANN, poll, row_of, task, told
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually
from tests.support.two_way import TwoWayAdapter


def turn(hub: Hub, connection_id: str, direction: str) -> None:
    [route] = hub.rows(Route, Route.connection_id == connection_id)
    with hub.db.write() as session:
        routes.change(session, {"id": route.id, "expected_version": route.version,
                                "changes": {"direction": direction}}, by=ADMIN)


@pytest.fixture
def pushed(hub: Hub, target: FakeTarget) -> str:
    """A connection over which tasks are written only; Ann has an account there."""
    connection_id = hub.connect(target, "task", adapter="two_way")
    with hub.db.write() as session:
        accounts.put(session, {"id": connection_id, "user_id": ANN, "account": "ann"}, by=ADMIN)
    hub.run()
    return connection_id


def test_a_route_that_is_widened_tells_what_changes_from_then_on_and_what_is_new_there(
    hub: Hub, target: FakeTarget, pushed: str
) -> None:
    ours, changed_before = task(hub), task(hub)
    for id in (ours, changed_before):
        hub.until(id, "delivered")
    target.put("task", changed_before, row_of(target, changed_before).body | {"title": "以前改的"})
    theirs = target.put("task", "theirs", {"title": "买茶", "status": "open"})

    turn(hub, pushed, "both")
    poll(hub, pushed)
    assert [one["external_id"] for one in told(hub)] == [theirs.id]
    assert [one.first_pass for one in hub.rows(Cursor)] == [False]

    target.put("task", changed_before, row_of(target, changed_before).body | {"status": "done"})
    task(hub, 2, ours, title="再次回访")
    hub.until(ours, "delivered", "delivered")
    poll(hub, pushed)
    assert [(one["keys"].get("id"), one["changed"]) for one in told(hub)[1:]] == [(changed_before, ["status"])]
    assert hub.ledger(pushed).balanced


@on_sqlite
def test_a_write_that_was_on_its_way_when_a_route_was_turned_is_not_told_as_a_change_of_theirs(
    hub: Hub, target: FakeTarget, pushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.until(id := task(hub), "delivered")
    let_go, written = threading.Event(), TwoWayAdapter.write

    def held(*given: Any) -> Written:
        assert let_go.wait(20)
        return written(*given)

    monkeypatch.setattr(TwoWayAdapter, "write", held)
    task(hub, 2, id, title="再次回访")
    eventually(lambda: hub.states(id) == ["delivered", "leased"])

    def first_pass_is_due(turned_at: dt.datetime) -> bool:
        with hub.db.write() as session:
            pulls.begin(session, pushed, "task", turned_at)
            due = pulls.any_due(session, utcnow() + dt.timedelta(minutes=1))
            session.rollback()
        return due

    turn(hub, pushed, "both")
    assert not first_pass_is_due(utcnow())
    assert first_pass_is_due(utcnow() - dt.timedelta(minutes=1)), "what set out after the turn is known as our own"
    let_go.set()
    hub.until(id, "delivered", "delivered")
    poll(hub, pushed)
    poll(hub, pushed, anew=True)

    assert told(hub) == []


@on_sqlite
def test_what_was_written_while_a_route_did_not_read_is_not_told_when_it_reads_again(
    hub: Hub, target: FakeTarget, pushed: str
) -> None:
    turn(hub, pushed, "both")
    id = task(hub)
    hub.until(id, "delivered")
    poll(hub, pushed)
    turn(hub, pushed, "push")
    task(hub, 2, id, title="再次回访")
    hub.until(id, "delivered", "delivered")

    turn(hub, pushed, "both")
    poll(hub, pushed)

    assert told(hub) == []


@on_sqlite
def test_who_unsubscribed_before_the_route_was_widened_is_told(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "contact", adapter="two_way")
    hub.run()
    id = contact(hub)
    hub.until(id, "delivered")
    target.put("contact", id, subscriber(target).body | {"consent": {"email": GRANTED["email"] | {"state": "refused"}}})

    turn(hub, connection_id, "both")
    poll(hub, connection_id)

    assert [(one["keys"], one["changed"]) for one in told(hub)] == [({"id": id}, ["consent"])]


def test_a_page_that_was_asked_for_before_the_route_was_turned_counts_no_more(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "task", adapter="two_way", direction="both")
    [cursor] = hub.rows(Cursor)
    turn(hub, connection_id, "push")
    turn(hub, connection_id, "both")

    now = cursor.due_at
    late = pulls.Pull(connection_id=connection_id, entity="task", checkpoint=None, fence=cursor.fence, failures=0)
    with pytest.raises(pulls.LeaseLost), hub.db.write() as session:
        pulls.take_in(session, late, [News(external_id="1", version="1", record={"title": "旧的"})], "9",
                      Reading(since=now, now=now), lease_until=None, next_due=now)
    assert told(hub) == []


@on_sqlite
def test_a_route_that_is_locked_is_read_as_it_is_then(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    with hub.db.write() as session:
        read = session.scalars(sa.select(Route)).one()
        session.execute(sa.update(table_of(Route)).values(state="inactive"))  # as another transaction may

        assert queries.get(session, read.id, ADMIN, locked=True).state == "inactive"


@on_sqlite
def test_a_route_is_turned_from_the_version_that_was_read_and_only_where_its_adapter_can(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    with pytest.raises(Invalid) as refused:
        turn(hub, connection_id, "both")
    assert [one["pointer"] for one in refused.value.fields["errors"]] == ["/changes/direction"]
    [route] = hub.rows(Route)
    asked = {"id": route.id, "expected_version": route.version - 1, "changes": {"direction": "push"}}
    with pytest.raises(StaleVersion), hub.db.write() as session:
        routes.change(session, asked, by=ADMIN)
