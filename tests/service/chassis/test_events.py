"""Events whose handler fails, that cannot be read, or that nobody takes: plain nameko first, then the chassis."""

from __future__ import annotations

import json
import random
import time

import eventlet
import pytest
from sqlalchemy import func, select

from chassis import broker as chassis_broker
from chassis import inbox, outbox, parking
from chassis.context import Subject
from chassis.database import Database, new_id
from chassis.relay import Relay
from chassis.snapshot import SNAPSHOT_RUN
from chassis.snapshot import request as request_snapshot
from services.lab import contract, service
from tests.service.chassis import stock
from tests.service.chassis.laboratory import CHANGED, HAPPENED, Lab, eventually, measured
from tests.support.postgres import Postgres

DEAD = f"{HAPPENED}.dead"


def tell_stock(lab: Lab, payload: str) -> None:
    lab.broker.publish(lab.vhost.name, "outside.events", "thing.happened", payload, content_type="application/json",
                       content_encoding="utf-8")


def test_an_undecodable_event_is_lost_by_plain_nameko_and_parked_by_the_chassis(lab: Lab) -> None:
    plain = stock.container(stock.Listener, lab.vhost.amqp_uri, lab.home / "runs.log")
    plain.start()
    tell_stock(lab, "not JSON")
    eventlet.sleep(1.0)
    plain.stop()
    assert lab.depth("evt-outside-thing.happened--listener.happened") == 0

    lab.start()
    lab.publish("not JSON")
    lab.publish(json.dumps({"specversion": "0.3"}))
    lab.publish(json.dumps({"hello": "world"}), content_type="application/json")
    eventually(lambda: lab.depth(DEAD) == 3)
    lab.say("after")
    eventually(lambda: lab.effects("after") == 1, 1.0)


def test_a_failing_event_is_lost_or_runs_hot_in_plain_nameko_and_is_parked_by_the_chassis(lab: Lab) -> None:
    plain = [stock.container(each, lab.vhost.amqp_uri, lab.home / "runs.log")
             for each in (stock.Listener, stock.Impatient)]
    plain[0].start()
    tell_stock(lab, json.dumps({"name": "lost", "fail": True}))
    eventually(lambda: lab.runs("heard lost") == 1)
    eventlet.sleep(0.5)
    plain[0].stop()
    assert lab.depth("evt-outside-thing.happened--listener.happened") == 0
    plain[1].start()
    tell_stock(lab, json.dumps({"name": "hot"}))
    eventlet.sleep(1.0)
    plain[1].kill()
    assert lab.runs("heard hot") > 20  # as fast as the machine goes, for ever

    lab.start(DELIVERY_LIMIT_LAB="3")
    for number in range(6):  # more than there are workers
        lab.say(f"bad{number}", behave="fail")
    eventually(lambda: lab.runs("heard bad") >= 6)
    said = time.monotonic()
    lab.say("good")
    eventually(lambda: lab.effects("good") == 1, 1.0)
    measured(f"an event passed six failing ones in {time.monotonic() - said:.2f} s")
    eventually(lambda: lab.depth(DEAD) == 6)
    parked = lab.broker.messages(lab.vhost.name, DEAD)[0]["properties"]["headers"]
    assert parked[parking.PARKED_BECAUSE] == "failed 3 times, at last with ValueError"
    assert [lab.runs(f"heard bad{number}") for number in range(6)] == [3] * 6
    assert lab.effects() == 1


def test_failing_events_wait_apart_and_hold_up_nobody_for_however_long(lab: Lab) -> None:
    lab.start(EVENT_PAUSE_S_LAB="2", EVENT_WORKERS_LAB="1")
    for number in range(12):  # three times what one worker may have in hand
        lab.say(f"bad{number}", behave="fail")
    eventually(lambda: lab.depth("wait.2000ms.v1") == 12, 15)
    assert lab.depth(HAPPENED) == 0
    said = time.monotonic()
    lab.say("good")
    eventually(lambda: lab.effects("good") == 1, 1.0)
    measured(f"an event passed twelve that wait in {time.monotonic() - said:.2f} s")
    eventually(lambda: lab.runs("heard bad") == 24, 10)
    eventually(lambda: lab.depth("wait.8000ms.v1") == 12, 10)


def test_an_event_whose_cause_of_failure_goes_away_has_its_effect_and_is_not_parked(
        lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter(range(3))

    def behave(_what: str, _seconds: float) -> None:
        if next(failures, None) is not None:
            raise ValueError("not yet")

    monkeypatch.setattr(service, "_behave", behave)
    lab.start(EVENT_PAUSE_S_LAB="0.02")
    lab.say("late")
    eventually(lambda: lab.effects("late") == 1)
    assert lab.runs("heard late") == 4
    assert (lab.depth(DEAD), lab.depth(HAPPENED)) == (0, 0)


def test_a_failing_event_is_kept_though_its_waiting_queue_was_deleted(lab: Lab) -> None:
    lab.start(EVENT_PAUSE_S_LAB="0.05", DELIVERY_LIMIT_LAB="3")
    lab.say("first", behave="fail")
    eventually(lambda: lab.depth(DEAD) == 1)
    lab.broker.delete_queue(lab.vhost.name, "wait.50ms.v1")
    lab.say("second", behave="fail")
    eventually(lambda: lab.depth(DEAD) == 2)


def test_the_pauses_of_a_failing_event_span_minutes() -> None:
    pauses = [parking.pause_s(0.2, tries) for tries in range(1, 10)]
    assert pauses == pytest.approx([0.2, 0.8, 3.2, 12.8, 51.2, 60, 60, 60, 60])
    assert sum(pauses) > 300


def test_an_event_with_values_we_refuse_is_parked_at_once(lab: Lab) -> None:
    lab.start()
    bad = lab.say("x", secret="sealed by nobody")
    wire = bad.to_wire()
    wire["data"]["secret"] = "v1.forged"
    wire["id"] = new_id()
    lab.publish(json.dumps(wire))
    eventually(lambda: lab.depth(DEAD) == 1)
    eventually(lambda: lab.runs("heard x") == 1)


def test_an_event_waits_while_the_database_is_away_and_is_not_parked(lab_on_postgres: Lab, postgres: Postgres) -> None:
    lab = lab_on_postgres
    lab.start(DELIVERY_LIMIT_LAB="2")
    postgres.kill()
    lab.say("patient")
    eventlet.sleep(2.5)
    assert lab.depth(DEAD) == 0
    postgres.start()
    eventually(lambda: lab.effects("patient") == 1, 15)
    assert lab.depth(DEAD) == 0
    assert lab.depth(HAPPENED) == 0


def test_events_go_back_while_a_long_outage_of_the_database_lasts(
        lab_on_postgres: Lab, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.entrypoints.HOLD_S", 0.5)
    lab = lab_on_postgres
    container = lab.start(DELIVERY_LIMIT_LAB="2")
    postgres.kill()
    lab.say("long")
    eventually(lambda: lab.depth(HAPPENED) == 1)
    eventually(lambda: container.runtime.health.missing().get("events") == "the database is away")
    postgres.start()
    eventually(lambda: lab.effects("long") == 1, 15)
    assert lab.depth(DEAD) == 0
    eventually(lambda: "events" not in container.runtime.health.missing())


def test_every_event_five_times_has_one_effect(lab_on: Lab) -> None:
    lab_on.start()
    said = [(f"n{number}", new_id()) for number in range(8)] * 5
    random.Random(17).shuffle(said)
    for name, id in said:
        lab_on.say(name, id=id)
    eventually(lambda: lab_on.effects() == 8, 15)
    eventually(lambda: lab_on.depth(HAPPENED) == 0)
    eventlet.sleep(0.3)
    assert lab_on.effects() == 8
    assert len(lab_on.rows(select(inbox.INBOX))) == 8


def test_a_projection_keeps_the_newest_state_however_events_are_shuffled(lab_on: Lab) -> None:
    lab_on.start()
    versions = list(range(1, 11))
    random.Random(18).shuffle(versions)
    subject = new_id()
    for version in versions:
        lab_on.say(f"v{version}", event=contract.THING_CHANGED, subject=subject, version=version)
    count = select(func.count()).select_from(inbox.INBOX)
    eventually(lambda: lab_on.rows(count)[0][0] == 10, 15)
    kept = lab_on.rows(select(service.Projection.version, service.Projection.name))
    assert [(row.version, row.name) for row in kept] == [(10, "v10")]


def test_an_event_that_kills_its_process_is_parked_in_the_end(lab: Lab) -> None:
    """The broker counts the deliveries of a process that cannot."""
    arguments = chassis_broker.event_queue(contract.THING_HAPPENED, "lab", "x").queue_arguments
    assert arguments["x-delivery-limit"] == chassis_broker.CRASH_LIMIT
    assert arguments["x-dead-letter-strategy"] == "at-least-once"


def test_a_queue_that_was_deleted_is_declared_again_and_what_was_missed_is_sent_again(lab: Lab) -> None:
    """Two rooms in one: the lab announces, and a second lab's queue stands for any listener."""
    container = lab.start()
    lab.say("before")
    eventually(lambda: lab.effects("before") == 1)
    lab.broker.purge(lab.vhost.name, "control.outside.v1")
    lab.broker.delete_queue(lab.vhost.name, HAPPENED)
    eventually(lambda: HAPPENED in lab.broker.list_queues(lab.vhost.name), 15)
    eventually(lambda: "events" not in container.runtime.health.missing())
    eventually(lambda: lab.depth("control.outside.v1") == 1)
    asked = json.loads(lab.broker.messages(lab.vhost.name, "control.outside.v1")[0]["payload"])
    assert asked["resend"] == {"exchange": "outside.events", "routing_keys": ["thing.happened"]}
    lab.say("after")
    eventually(lambda: lab.effects("after") == 1)


def test_a_listener_that_had_to_make_its_queue_hears_what_was_said_before(lab: Lab) -> None:
    container = lab.start()
    queue = chassis_broker.event_queue(contract.GOSSIP, "lab", "gossip").name

    def say(text: str) -> None:
        with db.write() as session:
            outbox.record(session, contract.GOSSIP, subject=new_id(), version=1, by=Subject.service("lab"),
                          data={"id": "x", "version": 1, "text": text})

    db = container.runtime.db
    say("heard")
    eventually(lambda: lab.effects("gossip heard") == 1)
    lab.rooms.stop("lab")
    lab.broker.delete_queue(lab.vhost.name, queue)
    settings = lab.settings()
    db = Database(settings.db_uri)
    relay = Relay(db, settings.amqp_uri, "lab")
    say("missed")
    running = eventlet.spawn(relay.run)
    eventually(lambda: not lab.unsent())  # sent, and nobody there
    relay.stop()
    running.wait()
    db.close()
    lab.start()
    eventually(lambda: lab.effects("gossip missed") == 1)
    eventually(lambda: lab.depth(queue) == 0)
    assert lab.effects("gossip heard") == 1


def test_a_listener_that_died_before_it_had_asked_asks_at_its_next_start(lab: Lab) -> None:
    lab.start()
    eventually(lambda: lab.depth("control.outside.v1") == 2)
    lab.rooms.stop("lab")
    lab.broker.purge(lab.vhost.name, "control.outside.v1")
    lab.broker.delete_queue(lab.vhost.name, f"{CHANGED}.dead")  # the mark that it had asked
    lab.start()
    eventually(lambda: lab.depth("control.outside.v1") == 1)


def test_a_service_asked_for_a_resend_sends_what_it_keeps_and_the_ids_are_the_same(lab: Lab) -> None:
    lab.start()
    ear = lab.listen()
    for number in range(3):
        lab.add(f"n{number}")
    eventually(lambda: len(ear.ids()) == 3)
    first = ear.ids()
    lab.broker.purge(lab.vhost.name, ear.queue)
    ask(lab, {"resend": {"exchange": "lab.events", "routing_keys": ["note.added"]}, "listener": "test"})
    eventually(lambda: sorted(ear.ids()) == sorted(first))


@pytest.mark.parametrize("payload", ["not JSON", "[]", '{"resend": 3}', '{"resend": {"exchange": 7}}'])
def test_a_control_message_that_is_nonsense_is_dropped_and_the_next_is_heard(lab: Lab, payload: str) -> None:
    lab.start()
    ear = lab.listen()
    lab.add("one")
    eventually(lambda: len(ear.ids()) == 1)
    lab.broker.publish(lab.vhost.name, "", "control.lab.v1", payload, content_type="application/json")
    ask(lab, {"resend": {"exchange": "lab.events", "routing_keys": ["note.added"]}})
    eventually(lambda: len(ear.ids()) == 2)
    eventually(lambda: lab.depth("control.lab.v1") == 0)


def ask(lab: Lab, body: dict[str, object]) -> None:
    assert lab.broker.publish(lab.vhost.name, "", "control.lab.v1", json.dumps(body), content_type="application/json",
                              content_encoding="utf-8")


@pytest.mark.faults
def test_a_snapshot_announces_every_record_and_goes_on_after_a_kill(lab: Lab) -> None:
    process = lab.process()
    lab.rooms.caller  # noqa: B018 (connects)
    process.terminate()
    container = lab.start()
    with container.runtime.db.write() as session:
        session.add_all([service.Note(id=new_id(), version=1, text=f"n{n}") for n in range(900)])
    lab.rooms.stop("lab")
    ear = lab.listen(contract.NOTE_SNAPSHOT)
    ask(lab, {"resend": {"exchange": "lab.events", "routing_keys": ["note.snapshot"]}, "snapshot": "note"})
    process = lab.process()
    announced = select(SNAPSHOT_RUN.c.announced)
    eventually(lambda: (lab.rows(announced) or [(0,)])[0][0] >= 200, every_s=0.005)
    process.kill()
    at = lab.rows(announced)[0][0]
    assert 200 <= at < 900  # it was cut in the middle: pages, and a pause after each
    lab.process()
    eventually(lambda: lab.rows(select(SNAPSHOT_RUN.c.finished_at))[0][0] is not None, 15)
    assert lab.rows(announced)[0][0] == 900
    eventually(lambda: not lab.unsent(), 15)
    eventually(lambda: len({envelope["subject"] for envelope in ear.envelopes()}) == 900, 15)


def test_a_snapshot_that_is_asked_for_again_starts_from_the_beginning(lab: Lab) -> None:
    container = lab.start()
    lab.add("one")
    for _ in range(2):
        with container.runtime.db.write() as session:
            request_snapshot(session, "note")
        eventually(lambda: lab.rows(select(SNAPSHOT_RUN.c.finished_at))[0][0] is not None)
    sent = select(func.count()).select_from(outbox.OUTBOX).where(outbox.OUTBOX.c.routing_key == "note.snapshot")
    assert lab.rows(sent)[0][0] == 2
