"""The broker killed, stopped, emptied, its connections cut: answers within 2 s, recovery measured, nothing lost."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import eventlet
import pytest
from nameko.standalone.rpc import ClusterRpcProxy

from chassis.answering import Exposed
from chassis.publishing import BrokerAway
from contracts import errors
from tests.service.chassis import stock
from tests.service.chassis.laboratory import HAPPENED, Lab, eventually, measured
from tests.support.broker import QUEUE_SETTLES_S

HEALED_WITHIN_S = 15.0


def recovery(call: Callable[[], Any]) -> float:
    """Return the seconds until `call` succeeds again."""
    began = time.monotonic()
    while True:
        try:
            call()
            return time.monotonic() - began
        except (errors.Unavailable, errors.DeadlineExceeded):
            assert time.monotonic() - began < HEALED_WITHIN_S
            eventlet.sleep(0.1)


@pytest.mark.faults
def test_a_killed_broker_is_unavailable_within_two_seconds_and_all_heals(lab: Lab) -> None:
    container = lab.start()
    ear = lab.listen()
    lab.add("before")
    eventually(lambda: not lab.unsent())
    eventlet.sleep(QUEUE_SETTLES_S)
    lab.broker.kill()
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(errors.Unavailable):
            lab.add("meanwhile")
        assert time.monotonic() - began < 2.0
    eventually(lambda: "requests" in container.runtime.health.missing())
    lab.broker.start()
    seconds = recovery(lambda: lab.add("after", key="after"))
    measured(f"R after a broker kill -9: {seconds:.1f} s")
    lab.say("heard again")
    eventually(lambda: lab.effects("heard again") == 1, HEALED_WITHIN_S)
    eventually(lambda: not lab.unsent(), HEALED_WITHIN_S)
    eventually(lambda: container.runtime.health.missing() == {}, HEALED_WITHIN_S)
    assert len(set(ear.ids())) == 2


def test_an_answer_that_the_broker_does_not_take_is_sent_again_while_its_caller_waits(
        lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = next(each.rpc_consumer for each in lab.start().entrypoints if isinstance(each, Exposed))
    publish, refused = consumer._replies.publish, [BrokerAway("it opens no connection")] * 3

    def busy(*args: Any, **options: Any) -> None:
        if refused:
            raise refused.pop()
        publish(*args, **options)

    monkeypatch.setattr(consumer._replies, "publish", busy)
    assert lab.wait(timeout_s=10)["pid"]
    refused.extend([BrokerAway("it opens no connection")] * 1000)
    with pytest.raises(errors.DeadlineExceeded):
        lab.wait(timeout_s=1)
    eventually(lambda: not consumer._running)
    assert len(refused) > 900, "nobody answers a caller that has gone"
    assert lab.runs("wait") == 2


@pytest.mark.faults
def test_a_call_in_flight_when_the_broker_dies_is_told_within_two_seconds(lab: Lab) -> None:
    lab.start()
    lab.wait()
    asked = eventlet.spawn(lab.wait, 20.0, timeout_s=25)
    eventually(lambda: lab.runs("wait") == 2)
    lab.broker.kill()
    began = time.monotonic()
    with pytest.raises(errors.Unavailable):
        asked.wait()
    assert time.monotonic() - began < 2.0


def test_a_broker_that_stands_still_is_never_waited_for(lab: Lab) -> None:
    lab.start()
    lab.wait()
    pid = lab.broker.node._pids()["node"]
    import os

    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(errors.Unavailable):
                lab.wait(timeout_s=30)
            assert time.monotonic() - began < 2.1
    finally:
        os.kill(pid, signal.SIGCONT)
    measured(f"R after SIGCONT: {recovery(lab.wait):.1f} s")


def test_a_process_drains_though_its_broker_stands_still(lab: Lab) -> None:
    import os

    lab.start()
    lab.wait()
    pid = lab.broker.node._pids()["node"]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        lab.rooms.stop("lab")
        measured(f"drain beside a stopped broker: {time.monotonic() - began:.1f} s")
        assert time.monotonic() - began < 20
    finally:
        os.kill(pid, signal.SIGCONT)


def test_cut_connections_are_made_again(lab: Lab) -> None:
    container = lab.start()
    lab.wait()
    eventually(lambda: len(lab.broker.list_connections(lab.vhost.name)) >= 5)
    assert lab.broker.close_connections(lab.vhost.name) >= 5
    seconds = recovery(lab.wait)
    measured(f"R after close_connections: {seconds:.1f} s")
    assert seconds < 10
    lab.say("after")
    eventually(lambda: lab.effects("after") == 1)
    eventually(lambda: container.runtime.health.missing() == {}, HEALED_WITHIN_S)


def test_a_request_in_flight_over_cut_connections_runs_twice_in_plain_nameko(lab: Lab) -> None:
    plain = stock.container(stock.Stock, lab.vhost.amqp_uri, lab.home / "runs.log")
    plain.start()
    with ClusterRpcProxy({"AMQP_URI": lab.vhost.amqp_uri}, timeout=10) as cluster:
        cluster.stock.wait.call_async(6)
        eventually(lambda: lab.runs("wait") == 1)
        eventually(lambda: len(lab.broker.list_connections(lab.vhost.name)) >= 3)
        lab.broker.close_connections(lab.vhost.name)
        eventually(lambda: lab.runs("wait") == 2)
    plain.kill()


def test_a_request_in_flight_over_cut_connections_runs_once_in_the_chassis(lab_on: Lab) -> None:
    lab = lab_on
    lab.start()
    lab.add("warm up")
    asked = eventlet.spawn(_result, lambda: lab.add("once", hold_s=4.0, key="k-1", timeout_s=10))
    eventually(lambda: lab.runs("add once") == 1)
    eventually(lambda: len(lab.broker.list_connections(lab.vhost.name)) >= 5)
    lab.broker.close_connections(lab.vhost.name)
    outcome = asked.wait()
    eventually(lambda: lab.notes().count("once") == 1)
    again = lab.add("once", hold_s=4.0, key="k-1")
    assert again.replayed
    assert lab.runs("add once") == 1
    assert lab.notes().count("once") == 1
    assert not isinstance(outcome, Exception) or isinstance(outcome, errors.Unavailable)


def _result(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except errors.HubError as error:
        return error


@pytest.mark.faults
def test_a_request_that_kills_its_process_kills_it_once(lab: Lab) -> None:
    process = lab.process()
    lab.rooms.caller  # noqa: B018 (connects)
    asked = eventlet.spawn(_result, lambda: lab.wait(fail="exit", timeout_s=12))
    assert process.wait(10) == 9
    survivor = lab.process()
    outcome = asked.wait()
    assert isinstance(outcome, errors.Unavailable)
    assert survivor.alive()
    assert lab.runs("wait") == 1


@pytest.mark.faults
def test_a_broker_that_lost_everything_gets_the_window_again(lab: Lab) -> None:
    container = lab.start()
    lab.listen()
    for number in range(5):
        lab.add(f"n{number}")
    eventually(lambda: not lab.unsent())
    lab.broker.wipe()
    lab.broker.create_vhost(lab.vhost.name)
    ear = lab.listen()
    eventually(lambda: len(set(ear.ids())) == 5, HEALED_WITHIN_S)
    eventually(lambda: not lab.unsent(), HEALED_WITHIN_S)
    eventually(lambda: container.runtime.health.missing() == {}, HEALED_WITHIN_S)
    lab.say("after")
    eventually(lambda: lab.effects("after") == 1, HEALED_WITHIN_S)
    assert lab.depth(HAPPENED) == 0


@pytest.mark.faults
def test_events_committed_while_the_broker_is_away_are_sent_when_it_is_back(lab: Lab) -> None:
    from chassis import outbox
    from chassis.context import Subject
    from chassis.database import new_id
    from services.lab import contract

    container = lab.start()
    ear = lab.listen()
    eventlet.sleep(QUEUE_SETTLES_S)
    lab.broker.kill()
    with container.runtime.db.write() as session:
        for number in range(20):
            outbox.record(session, contract.NOTE_ADDED, subject=new_id(), version=1, by=Subject.service("lab"),
                          data={"id": "x", "version": 1, "text": f"n{number}"})
    eventlet.sleep(6)  # longer than their lease
    assert len(lab.unsent()) == 20
    lab.broker.start()
    began = time.monotonic()
    eventually(lambda: not lab.unsent(), HEALED_WITHIN_S)
    measured(f"outbox drained {time.monotonic() - began:.1f} s after the broker")
    texts = [json.loads(message["payload"])["data"]["text"]
             for message in lab.broker.messages(lab.vhost.name, ear.queue, 100)]
    assert set(texts) == {f"n{number}" for number in range(20)}
