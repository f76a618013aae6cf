"""A target calls: signed messages are taken in once, forged, old and repeated ones change nothing."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from chassis.database import Database, new_id, utcnow
from contracts.errors import BadRequest, Unauthenticated
from services.integrations.engine import webhooks
from services.integrations.models import Connection, Cursor, Hint, OwnWrite, Receipt
from services.integrations.operations import inbound, receipts
from services.integrations.operations.inbound import News, Reading, Told
from tests.service.integrations.conftest import Hub, on_sqlite
from tests.service.integrations.test_two_ways import ANN, connect, poll, row_of, task, told
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually
from tests.support.two_way import message, signed


def call(hub: Hub, connection_id: str, body: bytes, *, headers: Mapping[str, str] | None = None, db: Any = None,
         **of: Any) -> dict[str, Any]:
    headers = {**(signed(body, **of) if headers is None else headers), "x-request-id": new_id()}
    request = {"connection_id": connection_id, "headers": headers, "body": base64.b64encode(body).decode()}
    return webhooks.receive(db or hub.db, hub.engine.targets, request, hub.engine.poller.wake)


def change(hub: Hub, model: type[Any], **values: Any) -> None:
    with hub.db.write() as session:
        session.execute(sa.update(model).values(**values))


def test_a_signed_message_is_told_once_and_the_poll_that_follows_tells_nothing(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    poll(hub, connection_id)
    row = target.put("task", id, row_of(target, id).body | {"status": "done"})

    assert call(hub, connection_id, message(row)) == {"changes": 0, "known": False}
    assert call(hub, connection_id, message(row)) == {"changes": 0, "known": True}
    eventually(lambda: len(told(hub)) == 1)
    assert call(hub, connection_id, message(row), age_s=2) == {"changes": 0, "known": False}
    poll(hub, connection_id)

    assert [(one["keys"], one["changed"]) for one in told(hub)] == [({"id": id, "account_user_id": ANN}, ["status"])]


@on_sqlite
def test_a_captured_message_is_known_again_whatever_unsigned_headers_it_is_given(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    body = message(target.put("task", "theirs", {"title": "买茶"}))
    captured = signed(body)
    assert call(hub, connection_id, body, headers=captured) == {"changes": 1, "known": False}

    for unsigned in ("x-nonce", "webhook-id", "x-delivery", "x-signature", "x-another-timestamp"):
        assert call(hub, connection_id, body, headers={**captured, unsigned: "2"}) == {"changes": 0, "known": True}


def test_our_own_write_that_is_called_back_is_an_echo(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    first = message(row_of(target, id))
    task(hub, 2, id, title="新标题")
    hub.until(id, "delivered", "delivered")

    assert call(hub, connection_id, message(row_of(target, id)))["changes"] == 0
    assert call(hub, connection_id, first)["changes"] == 0


def test_a_late_message_that_tells_no_time_makes_the_record_be_read_as_it_stands_now(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    late = message(target.put("task", id, row_of(target, id).body | {"status": "in_progress"}))
    target.put("task", id, row_of(target, id).body | {"status": "done"})
    poll(hub, connection_id)

    assert call(hub, connection_id, late) == {"changes": 0, "known": False}
    eventually(lambda: hub.rows(Hint) == [])
    unseen = message(target.put("task", id, row_of(target, id).body | {"title": "别的"}))
    row = target.put("task", id, row_of(target, id).body | {"priority": "low"})
    assert call(hub, connection_id, unseen) == {"changes": 0, "known": False}
    eventually(lambda: len(told(hub)) == 2)
    assert call(hub, connection_id, message(row)) == {"changes": 0, "known": False}
    poll(hub, connection_id)

    assert [(one["changed"], one["record"]["status"]) for one in told(hub)] == [
        (["status"], "done"), (["priority", "title"], "done")]


@on_sqlite
def test_a_hint_calls_the_target_from_no_door_and_waits_while_the_target_may_not_be_called(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    poll(hub, connection_id)
    far = utcnow() + dt.timedelta(hours=1)
    change(hub, Connection, throttled_until=far)
    calls = len(target.seen)
    row = target.put("task", id, row_of(target, id).body | {"status": "done"})

    assert call(hub, connection_id, message(row)) == {"changes": 0, "known": False}
    hub.engine.poller.start_due()

    assert (len(target.seen), [one.external_id for one in hub.rows(Hint)]) == (calls, [row.id])
    change(hub, Connection, throttled_until=None)
    change(hub, Cursor, checkpoint="999999")  # the pages tell nothing of it any more: it is read by its id
    hub.engine.poller.wake()
    eventually(lambda: [one["changed"] for one in told(hub)] == [["status"]])
    assert hub.rows(Hint) == []


@on_sqlite
def test_a_hint_that_a_target_refuses_to_answer_is_kept_and_its_refusal_slows_us_down(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    poll(hub, connection_id)
    change(hub, Cursor, checkpoint="999999")
    row = target.put("task", id, row_of(target, id).body | {"status": "done"})
    target.fail(method="GET", entity="task", status=429, headers={"Retry-After": "2"})

    assert call(hub, connection_id, message(row)) == {"changes": 0, "known": False}

    eventually(lambda: hub.connection(connection_id).throttled_until is not None)
    assert [one.external_id for one in hub.rows(Hint)] == [row.id]
    assert call(hub, connection_id, message(row), age_s=2) == {"changes": 0, "known": False}
    assert hub.rows(Cursor)[0].due_at > utcnow(), "a message does not end the pause after a failure"
    change(hub, Connection, throttled_until=None)
    change(hub, Cursor, due_at=utcnow())
    hub.engine.poller.wake()
    eventually(lambda: [one["changed"] for one in told(hub)] == [["status"]])


class Overtaken:
    """A database in which somebody takes in something newer just before each write."""

    def __init__(self, db: Database, meanwhile: Callable[[], None]) -> None:
        self.read = db.read
        self._db, self._meanwhile = db, meanwhile

    def write(self, *, yielding: bool = False) -> AbstractContextManager[Session]:
        self._meanwhile()
        return self._db.write(yielding=yielding)


@on_sqlite
def test_what_a_poll_took_in_while_a_message_was_read_is_not_told_to_be_older_again(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    row = target.put("task", "theirs", {"title": "买茶", "status": "open"})
    late = message(row)
    row = target.put("task", "theirs", row.body | {"status": "done"})
    newer = News(external_id=row.id, version=str(row.version), record=dict(row.body))

    def polled() -> None:
        with hub.db.write() as session:
            inbound.tell(session, connection_id, "task", [newer], Reading(since=utcnow(), now=utcnow()))

    assert call(hub, connection_id, late, db=Overtaken(hub.db, polled)) == {"changes": 0, "known": False}
    assert [one["record"]["status"] for one in told(hub)] == ["done"]
    assert [one.external_id for one in hub.rows(Hint)] == [row.id]
    unknown = target.put("task", "another", {"title": "买茶"})
    assert call(hub, connection_id, message(unknown)) == {"changes": 1, "known": False}


@on_sqlite
def test_a_page_that_was_asked_for_before_a_message_came_does_not_bring_the_older_record_back(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    poll(hub, connection_id)
    since = utcnow()
    row = target.put("task", id, row_of(target, id).body | {"status": "in_progress"})
    older = News(external_id=row.id, version=str(row.version), record=dict(row.body))
    call(hub, connection_id, message(target.put("task", id, row.body | {"status": "done"})))
    eventually(lambda: len(told(hub)) == 1)

    with hub.db.write() as session:
        read = inbound.tell(session, connection_id, "task", [older], Reading(since=since, now=utcnow()))

    assert read == Told(held=(older,))
    assert [one["record"]["status"] for one in told(hub)] == ["done"]


@on_sqlite
def test_a_page_of_what_the_hub_never_writes_is_read_again_too_if_something_newer_came_meanwhile(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target)
    since = utcnow()
    older, newer = (News(external_id="1", version=version, record={"name": version}) for version in ("1", "2"))
    with hub.db.write() as session:
        inbound.tell(session, connection_id, "product", [newer], Reading(since=utcnow(), now=utcnow()))

    with hub.db.write() as session:
        read = inbound.tell(session, connection_id, "product", [older], Reading(since=since, now=utcnow()))

    assert read == Told(held=(older,))


def test_a_forged_an_old_and_an_unreadable_message_change_nothing(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    row = target.put("task", "theirs", {"title": "买茶"})
    with pytest.raises(Unauthenticated):
        call(hub, connection_id, message(row), secret="another")
    with pytest.raises(Unauthenticated):
        call(hub, connection_id, message(row), age_s=600)
    with pytest.raises(Unauthenticated):
        call(hub, new_id(), message(row))
    with pytest.raises(Unauthenticated):
        call(hub, hub.connect(target, "customer"), message(row))
    with pytest.raises(BadRequest):
        call(hub, connection_id, b"{")

    assert told(hub) == []
    assert hub.rows(Receipt) == []


def counted() -> dict[str, float]:
    name = "integrations_inbound_messages_total"
    return {result: REGISTRY.get_sample_value(name, {"result": result}) or 0.0
            for result in ("taken", "known", "refused", "unreadable")}


@on_sqlite
def test_what_becomes_of_a_message_is_counted_and_logged_without_its_body(
    hub: Hub, target: FakeTarget, caplog: pytest.LogCaptureFixture
) -> None:
    connection_id = connect(hub, target, "task")
    body = message(target.put("task", "theirs", {"title": "a-marker-of-the-body"}))
    captured, torn = signed(body), body[:-3]
    cases: list[tuple[str, str, bytes, dict[str, str]]] = [
        ("taken", "webhook_taken", body, captured),
        ("known", "webhook_known", body, captured),
        ("refused", "webhook_refused", body, signed(body, secret="another")),
        ("refused", "webhook_refused", body, signed(body, age_s=600)),
        ("refused", "webhook_refused", body, {}),
        ("unreadable", "webhook_unreadable", torn, signed(torn)),
    ]
    caplog.set_level(logging.DEBUG)

    for result, event, sent, headers in cases:
        before = counted()
        with capture_logs() as said, contextlib.suppress(Unauthenticated, BadRequest):
            call(hub, connection_id, sent, headers=headers)
        assert [(one["event"], one["connection_id"]) for one in said if one["event"].startswith("webhook_")] == [
            (event, connection_id)]
        assert {name: counted()[name] - before[name] for name in before} == {
            name: float(name == result) for name in before}
        assert "a-marker-of-the-body" not in repr(said) + caplog.text


def test_a_message_about_what_no_route_pulls_is_taken_and_told_to_nobody(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "task", adapter="two_way")
    row = target.put("task", "theirs", {"title": "买茶"})

    assert call(hub, connection_id, message(row)) == {"changes": 0, "known": False}
    assert told(hub) == []


def test_what_is_a_day_old_is_forgotten(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    call(hub, connection_id, message(row_of(target, id)))

    with hub.db.write() as session:
        inbound.forget(session, utcnow() + dt.timedelta(hours=23))
        receipts.forget(session, utcnow() + dt.timedelta(hours=23))
    assert (len(hub.rows(OwnWrite)), len(hub.rows(Receipt))) == (1, 1)
    with hub.db.write() as session:
        inbound.forget(session, utcnow() + dt.timedelta(hours=25))
        receipts.forget(session, utcnow() + dt.timedelta(hours=25))
    assert (hub.rows(OwnWrite), hub.rows(Receipt)) == ([], [])
