"""Records that change on both sides: what we wrote does not come back, and what they wrote is not lost."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import new_id, utcnow
from chassis.outbox import OUTBOX
from contracts.inbound import ExternalChange
from contracts.schema import unpack
from hub_adapter.port import Context, Write, Written
from services.integrations.engine.targets import Target
from services.integrations.models import Binding, Cursor, OwnWrite
from services.integrations.operations import accounts, inbound, pulls
from services.integrations.operations.inbound import News, Reading, Told
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.support.fake_target import FakeTarget, Row
from tests.support.processes import eventually
from tests.support.two_way import TwoWayAdapter

ANN = new_id()


def told(hub: Hub) -> list[dict[str, Any]]:
    """What was announced of the target, in order, opened."""
    with hub.db.read() as session:
        bodies = session.scalars(sa.select(OUTBOX.c.body).where(OUTBOX.c.routing_key == "external.changed")
                                 .order_by(OUTBOX.c.id))
        return [unpack(ExternalChange, json.loads(body)["data"]) for body in bodies]


def connect(hub: Hub, target: FakeTarget, *entities: str) -> str:
    """A two-way connection on which Ann has an account."""
    connection_id = hub.connect(target, *entities, adapter="two_way", direction="both")
    if "task" in entities:
        with hub.db.write() as session:
            accounts.put(session, {"id": connection_id, "user_id": ANN, "account": "ann"}, by=ADMIN)
    return connection_id


def task(hub: Hub, version: int = 1, id: str | None = None, *, kind: str = "", origin: str = "hub",
         **state: Any) -> str:
    id = id or new_id()
    told_as = kind or ("created" if version == 1 else "updated")
    hub.tell(f"customers.task.{told_as}", id, version, origin=origin, **({
        "title": "回访", "description": "", "due_at": None, "priority": "normal", "progress": 0, "status": "open",
        "completed_at": None, "assignee_id": ANN, "external_ref": None} | state))
    return id


def row_of(target: FakeTarget, id: str) -> Row:
    return next(row for row in target.of("task") if row.key == id)


def poll(hub: Hub, connection_id: str, *, anew: bool = False) -> None:
    """Read the target's changes and wait until that is done; `anew` from the first on."""
    with hub.db.write() as session:
        session.execute(sa.update(Cursor).values(
            due_at=utcnow(), last_success_at=None, **({"checkpoint": None} if anew else {})))
    hub.engine.poller.wake()
    eventually(lambda: all(c.last_success_at and c.lease_owner is None for c in hub.rows(Cursor)))


def test_what_we_wrote_does_not_come_back(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    task(hub, 2, id, title="再次回访")
    hub.until(id, "delivered", "delivered")

    poll(hub, connection_id)
    poll(hub, connection_id, anew=True)

    assert told(hub) == []
    assert len(hub.rows(OwnWrite)) == 2


def test_an_earlier_state_of_ours_that_a_person_puts_back_is_told(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    row = row_of(target, id)
    first = News(external_id=row.id, version=str(row.version), record=dict(row.body))
    task(hub, 2, id, title="再次回访")
    hub.until(id, "delivered", "delivered")
    began, _ = sorted(write.at for write in hub.rows(OwnWrite))

    def read(since: dt.datetime) -> Told:
        with hub.db.write() as session:
            return inbound.tell(session, connection_id, "task", [first], Reading(since=since, now=utcnow()))

    assert read(began) == Told()
    assert read(utcnow()) == Told(announced=1)
    assert [(one["changed"], one["record"]["title"]) for one in told(hub)] == [(["title"], "回访")]


def test_what_they_changed_is_told_by_our_id_with_the_fields_that_changed(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    row = row_of(target, id)
    target.put("task", id, row.body | {"status": "done", "progress": 100})

    poll(hub, connection_id)

    assert [(one["keys"], one["changed"], one["record"]["title"]) for one in told(hub)] == [
        ({"id": id, "account_user_id": ANN}, ["progress", "status"], "回访")]


def test_a_new_record_in_somebodys_account_is_told_with_its_user_and_bound_when_its_owner_answers(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    row = target.put("task", "theirs", {"title": "买茶", "status": "open", "progress": 0})
    row.account = "ann"
    poll(hub, connection_id)
    assert [(one["keys"], one["changed"]) for one in told(hub)] == [({"account_user_id": ANN}, None)]

    ref = {"connection_id": connection_id, "external_id": row.id}
    id = task(hub, title="买茶", origin=connection_id, external_ref=ref)

    hub.until(id, "skipped")
    binding = hub.binding(id)
    assert (binding.external_id, binding.acked_version, binding.state) == (row.id, 1, "bound")
    task(hub, 2, id, title="买绿茶", external_ref=ref)
    hub.until(id, "skipped", "delivered")
    assert [(one.id, one.body["title"]) for one in target.of("task")] == [(row.id, "买绿茶")]
    assert hub.ledger(connection_id).balanced
    poll(hub, connection_id)
    assert len(told(hub)) == 1


def test_the_second_event_of_a_record_that_was_born_there_makes_no_double_when_it_overtakes_the_first(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    row = target.put("task", "theirs", {"title": "买茶", "status": "open"})
    poll(hub, connection_id)
    ref = {"connection_id": connection_id, "external_id": row.id}

    id = task(hub, 2, title="买绿茶", external_ref=ref)
    hub.until(id, "delivered")
    task(hub, 1, id, title="买茶", origin=connection_id, external_ref=ref)

    hub.until(id, "delivered", "skipped")
    assert [one.body["title"] for one in target.of("task")] == ["买绿茶"]


def test_a_page_that_was_read_before_our_write_does_not_bring_the_old_record_back(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    target.put("task", id, row_of(target, id).body | {"status": "in_progress"})
    read = hub.engine.poller._page

    def page_then_write(*args: Any) -> Any:
        page = read(*args)
        monkeypatch.setattr(hub.engine.poller, "_page", read)
        task(hub, 2, id, title="改了")
        hub.until(id, "delivered", "delivered")
        return page

    monkeypatch.setattr(hub.engine.poller, "_page", page_then_write)
    poll(hub, connection_id)
    poll(hub, connection_id)

    # Their step was met by our write, merged and told from there; the page that showed the old title was not.
    assert [(one["changed"], one["record"]["status"]) for one in told(hub)] == [(["status"], "in_progress")]
    assert {name: row_of(target, id).body[name] for name in ("title", "status")} == {
        "title": "改了", "status": "in_progress"}


def test_a_record_that_is_being_made_is_not_taken_for_one_of_theirs(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    poll(hub, connection_id)
    target.fail(method="POST", entity="task", drop="after")
    id = task(hub)
    eventually(lambda: hub.states(id) == ["in_doubt"])

    with hub.db.write() as session:
        session.execute(sa.update(Cursor).values(due_at=utcnow()))
    hub.engine.poller.wake()
    eventually(lambda: len(target.calls("GET")) > 4)
    assert told(hub) == []
    hub.hurry(id)

    hub.until(id, "delivered")
    poll(hub, connection_id)
    assert told(hub) == []
    assert len(target.of("task")) == 1


def test_what_people_did_to_a_record_before_the_look_found_it_is_kept_and_told(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    target.fail(method="POST", entity="task", drop="after")
    id = task(hub)
    eventually(lambda: hub.states(id) == ["in_doubt"])
    target.put("task", id, row_of(target, id).body | {"status": "done", "progress": 100, "priority": "low"})
    task(hub, 2, id, title="再次回访")

    hub.hurry(id)
    hub.until(id, "superseded", "delivered")

    body = row_of(target, id).body
    assert (body["title"], body["status"], body["progress"], body["priority"]) == ("再次回访", "done", 100, "low")
    poll(hub, connection_id)
    assert [(one["keys"], one["changed"]) for one in told(hub)] == [({"id": id}, ["priority", "progress", "status"])]
    assert hub.ledger(connection_id).balanced


@on_sqlite
@pytest.mark.parametrize("newer", [False, True])
def test_what_people_did_to_a_record_that_a_failed_call_had_left_is_kept_and_ours_is_not_taken_for_theirs(
    hub: Hub, target: FakeTarget, newer: bool
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    target.fail(method="POST", entity="task", status=503)
    hub.until(id := task(hub), "retry_wait")
    target.put("task", id, {"title": "回访", "status": "done", "progress": 0, "priority": "low"})
    if newer:
        task(hub, 2, id, title="再次回访", progress=50)

    hub.hurry(id)
    hub.until(id, *(["superseded"] if newer else []), "delivered")

    body = row_of(target, id).body
    ours = ("再次回访", 50) if newer else ("回访", 0)
    assert ((body["title"], body["progress"]), body["status"], body["priority"]) == (ours, "done", "low")
    poll(hub, connection_id)
    assert [(one["keys"], one["changed"]) for one in told(hub)] == [({"id": id}, ["priority", "status"])]
    assert hub.ledger(connection_id).balanced


def test_what_people_did_to_a_record_before_a_write_that_found_nothing_missing_is_told(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = TwoWayAdapter.write

    def look_first(self: TwoWayAdapter, ctx: Context, entity: str, cmd: Write) -> Written:
        found = self.get(ctx, entity, cmd.external_id) if cmd.external_id else None
        if found is None:
            return made(self, ctx, entity, cmd)
        return Written(external_id=found.external_id, remote_version=found.version, body=found.body)

    monkeypatch.setattr(TwoWayAdapter, "write", look_first)
    monkeypatch.setattr(Target, "refuses_stale", False)
    connection_id = connect(hub, target, "task")
    hub.run()
    target.fail(method="POST", entity="task", drop="after")
    id = task(hub)
    eventually(lambda: hub.states(id) == ["in_doubt"])
    target.put("task", id, row_of(target, id).body | {"status": "done"})

    hub.hurry(id)
    hub.until(id, "delivered")
    poll(hub, connection_id)
    poll(hub, connection_id, anew=True)

    assert [(one["keys"]["id"], one["record"]["status"]) for one in told(hub)] == [(id, "done")]


def test_a_change_that_is_held_is_told_after_ten_minutes_although_the_doubt_goes_on(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    target.fail(method="POST", entity="task", drop="after")
    id = task(hub)
    eventually(lambda: hub.states(id) == ["in_doubt"])
    now = utcnow()
    patience: dict[tuple[str, str, str, str], dt.datetime] = {}
    news = [News(external_id="another", version="1", record={"title": "买茶"})]

    def read(minutes: int) -> Told:
        at = now + dt.timedelta(minutes=minutes)
        with hub.db.write() as session:
            return inbound.tell(session, connection_id, "task", news, Reading(since=at, now=at, patience=patience))

    assert [len(read(minutes).held) for minutes in (0, 1, 9)] == [1, 1, 1]
    assert read(11) == Told(announced=1)


def test_a_deletion_is_told_once_and_held_no_longer_than_others_although_each_reading_gives_it_a_version(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    row = row_of(target, id)
    target.fail(method="PUT", entity="task", drop="after")
    task(hub, 2, id, title="再次回访")
    eventually(lambda: hub.states(id) == ["delivered", "in_doubt"])
    now = utcnow()
    patience: dict[tuple[str, str, str, str], dt.datetime] = {}

    def read(minutes: int, external_id: str) -> Told:
        at = now + dt.timedelta(minutes=minutes)
        gone = News(external_id=external_id, version=f"ann/gone {at}", record={"account": "ann"}, deleted=True)
        with hub.db.write() as session:
            return inbound.tell(session, connection_id, "task", [gone], Reading(since=at, now=at, patience=patience))

    assert [read(minutes, "another").announced for minutes in (0, 1)] == [1, 0]
    assert [len(read(minutes, row.id).held) for minutes in (0, 1, 9)] == [1, 1, 1]
    assert read(11, row.id) == Told(announced=1)
    assert patience == {}


def test_both_sides_changing_one_record_keeps_what_each_changed(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    target.put("task", id, row_of(target, id).body | {"status": "done", "priority": "low"})

    task(hub, 2, id, title="新标题", priority="high", progress=50)
    hub.until(id, "delivered", "delivered")

    body = row_of(target, id).body
    assert (body["title"], body["status"], body["priority"], body["progress"]) == ("新标题", "done", "high", 50)
    assert [(one["keys"], one["changed"]) for one in told(hub)] == [({"id": id}, ["status"])]
    poll(hub, connection_id)
    assert len(told(hub)) == 1


def test_a_change_taken_over_is_agreed_on_and_the_next_write_overwrites_nothing(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    row = target.put("task", id, row_of(target, id).body | {"status": "done"})
    poll(hub, connection_id)

    task(hub, 2, id, kind="completed", status="done", origin=connection_id)
    hub.until(id, "delivered", "skipped")
    assert hub.binding(id).remote_version == str(row.version)
    task(hub, 3, id, kind="reopened", status="open")
    hub.until(id, "delivered", "skipped", "delivered")

    assert row_of(target, id).body["status"] == "open"
    assert len(told(hub)) == 1


def test_what_they_told_is_brought_there_again_if_a_write_of_ours_replaced_it_before_its_owner_took_it_over(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    target.put("task", id, row_of(target, id).body | {"title": "他们的"})
    poll(hub, connection_id)
    task(hub, 2, id, title="我们的")
    hub.until(id, "delivered", "delivered")
    assert row_of(target, id).body["title"] == "我们的"

    task(hub, 3, id, title="他们的", origin=connection_id)

    hub.until(id, "delivered", "delivered", "delivered")
    assert row_of(target, id).body["title"] == "他们的"
    task(hub, 4, id, title="他们的", origin=connection_id)
    hub.until(id, "delivered", "delivered", "delivered", "skipped")
    poll(hub, connection_id)
    assert len(told(hub)) == 1


@on_sqlite
def test_what_came_back_waits_for_a_write_of_ours_that_may_replace_it_yet(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    target.put("task", id, row_of(target, id).body | {"title": "他们的"})
    poll(hub, connection_id)
    target.fail(method="PUT", entity="task", delay_s=0.3)
    task(hub, 2, id, title="我们的")
    hub.until(id, "delivered", "leased")

    task(hub, 3, id, title="他们的", origin=connection_id)

    hub.until(id, "delivered", "delivered", "delivered")
    assert row_of(target, id).body["title"] == "他们的"


@on_sqlite
def test_what_came_back_from_a_target_that_has_lost_the_record_is_made_there_anew(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    target.remove(row_of(target, id).id)
    with hub.db.write() as session:
        session.execute(sa.update(Binding).where(Binding.local_id == id).values(external_id=None, state="unbound"))

    task(hub, 2, id, title="他们的", origin=connection_id)

    hub.until(id, "delivered", "delivered")
    assert row_of(target, id).body["title"] == "他们的"


def test_a_record_deleted_there_is_told_and_one_that_we_deleted_is_not(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    ours, theirs = task(hub), task(hub)
    hub.until(ours, "delivered")
    hub.until(theirs, "delivered")
    target.remove(row_of(target, theirs).id)
    task(hub, 2, ours, kind="deleted")
    hub.until(ours, "delivered", "delivered")

    poll(hub, connection_id)

    assert [(one["keys"].get("id"), one["deleted"]) for one in told(hub)] == [(theirs, True)]


def test_a_connection_that_pulls_nothing_remembers_no_writes(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()

    hub.until(hub.customer(), "delivered")

    assert hub.rows(OwnWrite) == []


def test_a_poll_of_products_looks_up_nothing_else(make_hub: Callable[..., Hub], target: FakeTarget) -> None:
    hub = make_hub()
    connection_id = hub.connect(target, "product", direction="pull")
    news = [News(external_id="1", version="1", record={"sku": "A"})]
    texts: list[str] = []
    sa.event.listen(hub.db.engine, "before_cursor_execute", lambda *given: texts.append(given[2]))

    with hub.db.write() as session:
        now = utcnow()
        pull = pulls.Pull(connection_id=connection_id, entity="product", checkpoint=None, fence=0, failures=0)
        pulls.take_in(session, pull, news, "9", Reading(since=now, now=now), lease_until=None, next_due=now)

    assert not any(table in text for text in texts for table in ("own_write", "binding", "delivery"))
