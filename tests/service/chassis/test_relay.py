"""The outbox and its relay under everything that can happen between a commit and a listener."""

from __future__ import annotations

import datetime as dt
import json
import time
from contextlib import suppress
from itertools import pairwise

import eventlet
import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs

from chassis import broker, idempotency, inbox, outbox
from chassis.database import Database, new_id, utcnow
from chassis.outbox import OUTBOX
from chassis.relay import Relay
from chassis.runtime import prune
from contracts import errors
from services.lab import contract
from tests.service.chassis import stock
from tests.service.chassis.laboratory import Lab, eventually, measured


def test_an_event_that_nobody_takes_is_silently_lost_by_plain_nameko_and_kept_by_the_chassis(lab: Lab) -> None:
    plain = stock.container(stock.Dispatching, lab.vhost.amqp_uri, lab.home / "runs.log")
    plain.start()
    from nameko.standalone.rpc import ClusterRpcProxy

    with ClusterRpcProxy({"AMQP_URI": lab.vhost.amqp_uri}, timeout=5) as cluster:
        cluster.dispatching.say("nobody hears this")  # no error, no trace
    plain.stop()

    container = lab.start()
    lab.add("hello")
    eventually(lambda: lab.unsent() and lab.unsent()[0].last_error)
    row = lab.unsent()[0]
    assert row.last_error == "no queue is bound to note.added on lab.events"
    assert "note.added" in container.runtime.relay.unroutable
    ear = lab.listen()
    eventually(lambda: not lab.unsent(), 15)
    assert ear.ids() == [row.id]
    assert container.runtime.relay.unroutable == {}


def test_an_event_that_may_have_no_listener_counts_as_sent(lab: Lab) -> None:
    container = lab.start()
    with container.runtime.db.write() as session:
        outbox.record(session, contract.GOSSIP, subject=new_id(), version=1,
                      data={"id": "x", "version": 1, "text": "?"}, by=container.runtime.extra.get("by", _BY))
    eventually(lambda: not lab.unsent())
    with container.runtime.db.read() as session:
        [sent_at] = session.scalars(select(OUTBOX.c.sent_at))
    assert sent_at is not None


class _BY:
    id = "test"


def test_with_events_at_hand_and_no_broker_a_relay_tries_again_a_few_times_a_second(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    def away(_uri: str) -> None:
        tries.append(time.monotonic())
        raise OSError("there is no broker")

    monkeypatch.setattr(broker, "connected", away)
    settings = lab.settings()
    relay = Relay(Database(settings.db_uri), settings.amqp_uri, "lab")
    relay.offer([outbox.Pending(new_id(), "lab.events", "note.added", True, "{}")])
    running = eventlet.spawn(relay.run)
    eventually(lambda: len(tries) > 2)
    relay.stop()
    running.wait()
    between = [later - earlier for earlier, later in pairwise(tries)]
    assert min(between) > 0.1


def test_two_relays_on_one_database_send_every_event_and_no_other_ids(lab_on: Lab) -> None:
    first = lab_on.start()
    ear = lab_on.listen()
    settings = lab_on.settings()
    db = Database(settings.db_uri)
    second = Relay(db, settings.amqp_uri, "lab")
    running = eventlet.spawn(second.run)
    calls = [eventlet.spawn(lab_on.add, f"n{n}", timeout_s=20) for n in range(40)]
    # What a dead process has left behind is for either of them.
    with db.write() as session:
        relay = session.info.get("relay")
        assert relay is None
        for n in range(60):
            outbox.record(session, contract.NOTE_ADDED, subject=new_id(), version=1,
                          data={"id": "x", "version": 1, "text": f"left{n}"}, by=_BY)
    for call in calls:
        call.wait()
    eventually(lambda: not lab_on.unsent(), 20)
    eventually(lambda: len(ear.ids()) >= 100)
    kept = {row.id for row in lab_on.rows(select(OUTBOX.c.id))}
    assert set(ear.ids()) == kept
    measured(f"two relays: {len(ear.ids())} messages for {len(kept)} events")
    second.stop()
    running.wait()
    db.close()
    assert first.runtime.relay.connected


@pytest.mark.parametrize("failpoint", ["relay.after_publish", "relay.before_mark_sent"])
def test_a_relay_killed_after_it_published_sends_again_under_the_same_id(lab: Lab, failpoint: str) -> None:
    ear = lab.listen()
    process = lab.process(HUB_FAILPOINTS=f"{failpoint}=kill")
    with suppress(errors.Unavailable, errors.DeadlineExceeded):  # its process may die before it has answered
        lab.add("once")
    process.wait(15)
    assert lab.notes() == ["once"]
    assert len(lab.unsent()) == 1
    began = time.monotonic()
    lab.process()
    eventually(lambda: not lab.unsent(), 10)
    measured(f"{failpoint}: sent again {time.monotonic() - began:.1f} s after the start of the next process")
    ids = ear.ids()
    assert len(ids) in {1, 2}
    assert len(set(ids)) == 1


@pytest.mark.faults
@pytest.mark.parametrize(("name", "effects"), [("add_note.before_commit", 0), ("add_note.after_commit", 1)])
def test_a_service_killed_around_its_commit_has_row_and_event_or_neither(lab: Lab, name: str, effects: int) -> None:
    ear = lab.listen()
    process = lab.process(HUB_FAILPOINTS=f"{name}=kill")
    with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
        lab.add("cut", key="k-1")
    process.wait(15)
    assert len(lab.notes()) == effects
    lab.process()
    again = lab.add("cut", key="k-1")
    assert again.replayed is bool(effects)
    assert lab.notes() == ["cut"]
    eventually(lambda: len(set(ear.ids())) == 1, 15)


@pytest.mark.faults
def test_a_handler_killed_after_its_commit_runs_again_and_has_one_effect(lab: Lab) -> None:
    process = lab.process(HUB_FAILPOINTS="inbox.after_commit=kill")
    lab.say("once")
    process.wait(15)
    assert lab.effects("once") == 1
    lab.process()
    from tests.service.chassis.laboratory import HAPPENED

    eventually(lambda: lab.depth(HAPPENED) == 0)
    lab.say("second")
    eventually(lambda: lab.effects("second") == 1)
    assert lab.effects("once") == 1


def _poison(db: Database, **changes: object) -> str:
    row = {"id": new_id(), "exchange": "lab.events", "routing_key": "note.added", "subject": new_id(),
           "mandatory": True, "body": "{}", "created_at": utcnow(), "due_at": utcnow(), **changes}
    with db.write() as session:
        session.execute(OUTBOX.insert().values(**row))
    return str(row["id"])


@pytest.mark.parametrize("changes", [{"exchange": "amq.reserved"}, {"routing_key": "喂" * 110}],
                         ids=["closes-the-channel", "cannot-be-written"])
def test_an_event_that_breaks_the_channel_holds_up_nothing_else(lab: Lab, changes: dict[str, object]) -> None:
    container = lab.start()
    ear = lab.listen()
    poison = _poison(container.runtime.db, **changes)
    for number in range(3):
        lab.add(f"n{number}")
    eventually(lambda: len(set(ear.ids())) == 3, 15)
    eventually(lambda: [row.id for row in lab.unsent()] == [poison], 15)
    eventually(lambda: lab.unsent()[0].last_error)
    lab.add("later")
    eventually(lambda: len(set(ear.ids())) == 4, 5)
    assert container._died.ready() is False


def test_an_idle_process_keeps_its_connections(lab: Lab) -> None:
    container = lab.start(AMQP_URI=f"{lab.vhost.amqp_uri}?heartbeat=3")
    eventually(lambda: container.runtime.relay.connected)
    with capture_logs() as said:
        eventlet.sleep(9.0)
    assert [line for line in said if line["log_level"] in {"warning", "error"}] == []


def test_what_failed_before_is_sent_though_new_events_never_cease(lab: Lab) -> None:
    container = lab.start()
    ear = lab.listen()
    left = _poison(container.runtime.db, body=json.dumps({"id": "left"}))
    stop = eventlet.event.Event()

    def chatter() -> None:
        while not stop.ready():
            with container.runtime.db.write() as session:
                outbox.record(session, contract.NOTE_ADDED, subject=new_id(), version=1,
                              data={"id": "x", "version": 1, "text": "?"}, by=_BY)
            eventlet.sleep(0.01)

    talking = eventlet.spawn(chatter)
    eventually(lambda: "left" in ear.ids(), 10)
    stop.send(None)
    talking.wait()
    assert left not in {row.id for row in lab.unsent()}


def test_pruning_goes_in_batches_and_never_takes_what_is_unsent(lab_on: Lab) -> None:
    container = lab_on.start()
    runtime = container.runtime
    old = utcnow() - dt.timedelta(days=400)
    with runtime.db.write() as session:
        session.execute(OUTBOX.insert(), [
            {"id": new_id(), "exchange": "lab.events", "routing_key": "old", "subject": "s", "mandatory": True,
             "body": "{}", "created_at": old, "due_at": old, "sent_at": old} for _ in range(1500)])
        session.execute(OUTBOX.insert().values(
            id=new_id(), exchange="lab.events", routing_key="unsent", subject="s", mandatory=True, body="{}",
            created_at=old, due_at=utcnow() + dt.timedelta(hours=1)))
        session.execute(inbox.INBOX.insert(), [
            {"event_id": new_id(), "handler": "h", "received_at": old} for _ in range(5)])
        session.execute(idempotency.IDEMPOTENCY.insert(), [
            {"principal": "p", "operation": "o", "key": str(n), "fingerprint": "f", "created_at": old}
            for n in range(5)])
    assert prune(runtime) == 1010
    assert prune(runtime) == 500
    assert prune(runtime) == 0
    left = lab_on.rows(select(OUTBOX.c.routing_key))
    assert [row.routing_key for row in left] == ["unsent"]


def test_the_relay_of_a_process_that_is_told_to_stop_sends_what_was_announced_last(lab: Lab) -> None:
    lab.start()
    ear = lab.listen()
    lab.add("last words")
    lab.rooms.stop("lab")
    assert lab.unsent() == []
    assert len(ear.ids()) == 1
    assert lab.rows(select(func.count()).select_from(OUTBOX))[0][0] == 1
