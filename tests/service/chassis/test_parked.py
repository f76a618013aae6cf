"""What is parked waits for a person, who can see it and send it back."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
from typing import Any

import amqp
import pytest
import requests
from kombu import Connection

from chassis import failpoints, parking
from chassis.database import new_id, utcnow
from chassis.failpoints import FailpointReached
from chassis.outbox import OUTBOX
from hub import parked
from hub.installation import Installation
from hub.trouble import Trouble
from services.lab import service
from tests.service.chassis.laboratory import CHANGED, HAPPENED, Lab, eventually
from tests.support.processes import ROOT

DEAD = f"{HAPPENED}.dead"


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Put True in, and the handler works."""
    works: list[bool] = []

    def behave(_what: str, _seconds: float) -> None:
        if not works:
            raise ValueError("as told")

    monkeypatch.setattr(service, "_behave", behave)
    return works


def here(lab: Lab) -> Installation:
    return Installation({"HUB_HOME": str(lab.home), "AMQP_URI": lab.vhost.amqp_uri})


def park(lab: Lab, *names: str) -> None:
    lab.start(EVENT_PAUSE_S_LAB="0.001", DELIVERY_LIMIT_LAB="2")
    for name in names:
        lab.say(name)
    eventually(lambda: lab.depth(DEAD) == len(names))


def test_what_is_parked_is_listed_with_its_reason_and_goes_back_to_its_queue(lab: Lab, mended: list[bool]) -> None:
    park(lab, "one", "two")
    full, empty = parked.look(here(lab), [CHANGED, HAPPENED, "evt.nobody.v1"])
    assert (full.queue, full.parked, full.oldest_type) == (HAPPENED, 2, "outside.thing.happened")
    assert full.reason == "failed 2 times, at last with ValueError"
    assert full.oldest_at is not None
    assert (empty.queue, empty.parked, empty.reason) == (CHANGED, 0, None)
    eventually(lambda: lab.depth(DEAD) == 2)  # looking takes nothing away

    mended.append(True)
    assert parked.give_back(here(lab), HAPPENED) == 2
    eventually(lambda: lab.effects() == 2)
    assert (lab.depth(DEAD), lab.depth(HAPPENED)) == (0, 0)


def test_what_goes_back_and_fails_again_is_tried_as_often_as_before(lab: Lab, mended: list[bool]) -> None:
    park(lab, "one")
    assert parked.give_back(here(lab), DEAD) == 1  # by either name
    eventually(lambda: lab.depth(DEAD) == 1)
    assert lab.runs("heard one") == 4


def test_a_return_cut_off_in_the_middle_repeats_one_event_which_has_one_effect(lab: Lab, mended: list[bool]) -> None:
    park(lab, "one", "two")
    mended.append(True)
    failpoints.arm("parked.before_ack=raise")
    with pytest.raises(FailpointReached):
        parked.give_back(here(lab), HAPPENED)
    eventually(lambda: lab.depth(DEAD) == 2)
    assert parked.give_back(here(lab), HAPPENED) == 2
    eventually(lambda: lab.effects() == 2)
    eventually(lambda: lab.depth(HAPPENED) == 0)
    assert (lab.effects("one"), lab.effects("two")) == (1, 1)


def test_looking_again_and_again_takes_nothing_away(lab: Lab, mended: list[bool]) -> None:
    """RabbitMQ 4 drops from a quorum queue what was given back twenty times."""
    park(lab, "one")
    seen = [parked.look(here(lab), [HAPPENED])[0] for _ in range(parked.LOOKS + 2)]
    assert {(each.parked, each.reason) for each in seen} == {(1, "failed 2 times, at last with ValueError")}
    with Connection(lab.vhost.amqp_uri, connect_timeout=30) as connection:
        message = connection.default_channel.basic_get(DEAD)
        assert message.headers.get("x-delivery-count", 0) <= 2
        assert message.headers[parking.TRIES] == 1


def test_an_event_that_the_broker_parked_says_so(lab: Lab) -> None:
    lab.start()
    lab.rooms.stop("lab")
    lab.say("crashing")
    with Connection(lab.vhost.amqp_uri, connect_timeout=30) as connection:
        channel = connection.default_channel
        while (message := channel.basic_get(HAPPENED)) is not None:
            channel.basic_reject(message.delivery_tag, requeue=True)
    eventually(lambda: lab.depth(DEAD) == 1)
    assert "given out 20 times" in (parked.look(here(lab), [HAPPENED])[0].reason or "")


def test_a_body_that_is_no_event_is_listed_and_goes_back_as_it_is(lab: Lab) -> None:
    lab.start()
    lab.publish("not JSON", message_id=new_id())
    eventually(lambda: lab.depth(DEAD) == 1)
    assert parked.look(here(lab), [HAPPENED])[0].oldest_type is None
    lab.rooms.stop("lab")
    assert parked.give_back(here(lab), HAPPENED) == 1
    assert lab.broker.messages(lab.vhost.name, HAPPENED)[0]["payload"] == "not JSON"


@pytest.mark.parametrize(("queue", "problem"), [
    ("evt.nobody.v1", "there is no queue evt.nobody.v1.dead"),
    ("rpc.lab.classic.v1.dead", "requests do not go back"),
])
def test_what_cannot_go_back_is_refused_with_the_reason(lab: Lab, queue: str, problem: str) -> None:
    with pytest.raises(Trouble, match=problem):
        parked.give_back(here(lab), queue)


def test_events_stay_parked_while_their_queue_is_gone(lab: Lab, mended: list[bool]) -> None:
    park(lab, "one")
    lab.rooms.stop("lab")
    lab.broker.delete_queue(lab.vhost.name, HAPPENED)
    with pytest.raises(Trouble, match="start its room once"):
        parked.give_back(here(lab), HAPPENED)
    assert lab.depth(DEAD) == 1


def test_the_command_line_lists_and_returns(lab: Lab) -> None:
    queue = "evt.integrations.order_confirmed.sales.order.confirmed.v1"
    with Connection(lab.vhost.amqp_uri, connect_timeout=30) as connection:
        channel = connection.default_channel
        for name in (queue, f"{queue}.dead"):
            channel.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        headers = {parking.PARKED_BECAUSE: "failed 10 times, at last with [KeyError]"}
        channel.basic_publish_confirm(amqp.Message("{}", application_headers=headers), routing_key=f"{queue}.dead")
    code, document = hub(lab, "parked", "list")
    assert (code, document["parked"]) == (3, 1)
    (only,) = document["queues"]
    assert (only["queue"], only["reason"]) == (queue, headers[parking.PARKED_BECAUSE])
    assert hub(lab, "parked", "return", queue) == (0, {"ok": True, "queue": queue, "returned": 1})
    assert lab.depth(queue) == 1
    code, document = hub(lab, "parked", "return", "evt.nobody")
    assert (code, document["ok"]) == (1, False)


def test_the_doctor_names_what_is_parked_what_no_queue_takes_and_what_waits(lab: Lab) -> None:
    container = lab.start()
    lab.add("nobody listens")
    eventually(lambda: lab.unsent() and lab.unsent()[0].last_error)
    assert container.runtime.health.notes() == {
        "unroutable": "note.added: no queue is bound to note.added on lab.events"}
    container.runtime.health.serve("127.0.0.1:0")
    answer = requests.get("http://{}:{}/readyz".format(*container.runtime.health.address), timeout=5)
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "notes": container.runtime.health.notes()}
    dead = "evt.sales.customer_created.customers.customer.created.v1.dead"
    with Connection(lab.vhost.amqp_uri, connect_timeout=30) as connection:
        channel = connection.default_channel
        channel.queue_declare(dead, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        channel.basic_publish_confirm(amqp.Message("{}"), routing_key=dead)
    _code, document = hub(lab, "doctor", DB_URI_SALES=lab.settings().db_uri)
    wrong = {(each["subject"], each["text"]): each["remedy"] for each in document["findings"]
             if each["verdict"] == "wrong"}
    (parked_in,) = [text for subject, text in wrong if subject == "parked"]
    assert parked_in == f"1 in {dead}"
    assert f"hub parked return {dead.removesuffix('.dead')}" in wrong["parked", parked_in]
    assert untaken(document) == "note"  # its listener may be about to start

    late = utcnow() - dt.timedelta(seconds=90)
    with container.runtime.db.write() as session:
        session.execute(OUTBOX.update().values(created_at=late))
    assert untaken(hub(lab, "doctor", DB_URI_SALES=lab.settings().db_uri)[1]) == "wrong"
    with container.runtime.db.write() as session:
        session.execute(OUTBOX.update().values(due_at=late, attempts=0, lease_owner="dead", last_error=None,
                                               lease_until=utcnow() + dt.timedelta(seconds=60)))
    assert container.runtime.health.missing() == {}
    assert re.search(rf"the oldest event has waited for {NINETY_AND_MORE}", container.runtime.health.notes()["unsent"])
    _code, document = hub(lab, "doctor", DB_URI_SALES=lab.settings().db_uri)
    (waits,) = [each["text"] for each in document["findings"]
                if (each["subject"], each["verdict"]) == ("outbox", "wrong")]
    assert re.search(rf"sales: an event has waited to be sent for {NINETY_AND_MORE}", waits)


NINETY_AND_MORE = r"(9\d|[1-9]\d\d)\b"
"""Seconds: the command itself takes some on a busy machine."""


def untaken(document: Any) -> str:
    """The verdict on the event that no queue takes."""
    (found,) = [each for each in document["findings"] if "sales: no queue takes note.added, 1 kept" in each["text"]]
    return str(found["verdict"])


def hub(lab: Lab, *arguments: str, **environ: str) -> tuple[int, Any]:
    told = {**os.environ, "HUB_HOME": str(lab.home), "AMQP_URI": lab.vhost.amqp_uri, **environ}
    done = subprocess.run([sys.executable, "-m", "hub", *arguments, "--json"], cwd=ROOT, env=told,
                          capture_output=True, text=True, timeout=110, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
