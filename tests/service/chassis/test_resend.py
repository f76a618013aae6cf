"""A resend of a large outbox: everyday work goes on meanwhile, and an end in the middle loses nothing."""

from __future__ import annotations

import datetime as dt
import json
import time

import eventlet
import pytest

from chassis import outbox
from chassis.database import Database, new_id, utcnow
from chassis.outbox import OUTBOX
from tests.service.chassis.laboratory import Lab, eventually, measured

MARKER = "marker.lab.v1"


def keep_sent(db: Database, count: int) -> set[str]:
    """Put `count` events into the outbox that were sent a while ago."""
    began = utcnow() - dt.timedelta(hours=2)
    rows = []
    for number in range(count):
        at, id = began + dt.timedelta(milliseconds=number), new_id()
        rows.append({"id": id, "exchange": "lab.events", "routing_key": "note.added", "subject": id, "mandatory": True,
                     "body": json.dumps({"id": id, "padding": "x" * 400}), "created_at": at, "due_at": at,
                     "sent_at": at})
    for start in range(0, count, 2000):
        with db.write() as session:
            session.execute(OUTBOX.insert(), rows[start:start + 2000])
    return {str(row["id"]) for row in rows}


def ask(lab: Lab) -> None:
    body = {"resend": {"exchange": "lab.events", "routing_keys": ["note.added"]}, "listener": "test"}
    assert lab.broker.publish(lab.vhost.name, "", "control.lab.v1", json.dumps(body), content_type="application/json",
                              content_encoding="utf-8")


def test_requests_are_answered_while_twenty_thousand_events_are_sent_again(lab_on: Lab) -> None:
    container = lab_on.start()
    ear = lab_on.listen()
    keep_sent(container.runtime.db, 20_000)
    answered: list[float] = []

    def everyday_work() -> None:
        while True:
            began = time.monotonic()
            lab_on.add("meanwhile")
            answered.append(time.monotonic() - began)
            eventlet.sleep(0.02)

    worker = eventlet.spawn(everyday_work)
    ask(lab_on)
    eventually(lambda: lab_on.depth(ear.queue) > 0, 30)
    before, began = len(answered), time.monotonic()
    eventually(lambda: lab_on.depth(ear.queue) >= 20_000, 120)
    meanwhile, took_s = answered[before:], time.monotonic() - began
    worker.kill()
    measured(f"20,000 events sent again in {took_s:.1f} s: {len(meanwhile)} requests answered meanwhile, the slowest "
             f"in {max(meanwhile, default=took_s):.2f} s")
    assert meanwhile
    eventually(lambda: not lab_on.unsent(), 20)


@pytest.mark.parametrize("asked", [True, False], ids=["a-listener-asks", "the-broker-was-wiped"])
def test_a_resend_killed_between_two_pages_loses_nothing(lab: Lab, asked: bool) -> None:
    lab.start()
    lab.rooms.stop("lab")
    db = Database(lab.settings().db_uri)
    ids = keep_sent(db, 1200)
    db.close()
    ear = lab.listen()
    if asked:
        ask(lab)
    else:
        lab.broker.delete_queue(lab.vhost.name, MARKER)
    lab.process(HUB_FAILPOINTS="outbox.between_pages=kill", wait_s=None).wait(30)
    assert len(set(ear.ids())) < 1200
    lab.process()
    eventually(lambda: set(ear.ids()) == ids, 20)
    eventually(lambda: not lab.unsent(), 20)
    assert MARKER in lab.broker.list_queues(lab.vhost.name)


def test_a_claim_never_leases_more_than_its_limit_however_postgresql_plans_it(
        lab_on_postgres: Lab) -> None:
    lab_on_postgres.start()
    lab_on_postgres.rooms.stop("lab")
    db = Database(lab_on_postgres.settings().db_uri)
    keep_sent(db, 50)
    with db.write() as session:
        session.execute(OUTBOX.update().values(sent_at=None))
    with db.write() as session:
        # The plan that runs a sub-select anew for each row.
        for way in ("hashjoin", "mergejoin", "hashagg", "sort", "material", "indexscan", "bitmapscan"):
            session.connection().exec_driver_sql(f"SET LOCAL enable_{way} = off")
        assert len(outbox.claim(session, "a", 5)) == 5
    db.close()
