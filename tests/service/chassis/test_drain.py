"""SIGTERM and a broker that is not there: plain nameko first, then the chassis, as real processes."""

from __future__ import annotations

import json
import signal
import time

import eventlet
import pytest
from kombu import Connection, Exchange, Queue

from chassis import broker as chassis_broker
from tests.service.chassis import stock
from tests.service.chassis.laboratory import HAPPENED, LAB_PATH, Lab, eventually, measured
from tests.support.processes import Process, free_port

STOCK_EVENTS = "evt-outside-thing.happened--listener.happened"


def tell_stock(lab: Lab, name: str, **data: object) -> None:
    lab.broker.publish(lab.vhost.name, "outside.events", "thing.happened", json.dumps({"name": name, **data}),
                       content_type="application/json", delivery_mode=2)


def stock_listens(lab: Lab, queue: str = STOCK_EVENTS) -> bool:
    return queue in lab.broker.list_queues(lab.vhost.name)


@pytest.mark.faults
def test_finished_work_runs_again_after_sigterm_of_plain_nameko_and_not_of_the_chassis(lab: Lab) -> None:
    plain = lab.stock("Listener")
    eventually(lambda: stock_listens(lab))
    tell_stock(lab, "plain", seconds=8)  # beyond its heartbeat, which nobody sends while it stops
    eventually(lambda: lab.runs("heard plain") == 1)
    plain.terminate()
    eventually(lambda: lab.depth(STOCK_EVENTS) == 1)  # finished, and yet given out again
    lab.broker.delete_queue(lab.vhost.name, STOCK_EVENTS)

    process = lab.process()
    lab.say("ours", behave="slow", seconds=1.5)
    eventually(lambda: lab.runs("heard ours") == 1)
    began = time.monotonic()
    assert process.terminate() == 0
    took = time.monotonic() - began
    measured(f"drain with a handler of 1.5 s under way: {took:.1f} s")
    assert lab.depth(HAPPENED) == 0
    assert (lab.runs("heard ours"), lab.effects("ours")) == (1, 1)
    assert '"stopped"' in process.log()


def test_a_request_under_way_at_sigterm_is_answered_and_so_is_one_still_in_hand(lab: Lab) -> None:
    process = lab.process(MAX_WORKERS_LAB="1")
    lab.rooms.caller  # noqa: B018 (connects)
    under_way = eventlet.spawn(lab.wait, 1.5)
    eventually(lambda: lab.runs("wait") == 1)
    process.signal(signal.SIGTERM)
    assert under_way.wait()["pid"] == process.pid
    assert process.wait() == 0


def test_twenty_slow_handlers_drain_in_time_and_what_was_not_begun_goes_back(lab: Lab) -> None:
    process = lab.process(EVENT_WORKERS_LAB="20", DB_URI_LAB=lab.settings().db_uri)
    for number in range(30):
        lab.say(f"n{number}", behave="slow", seconds=0.2)
    eventually(lambda: lab.runs("heard") >= 2)
    began = time.monotonic()
    assert process.terminate() == 0
    took = time.monotonic() - began
    measured(f"drain of 20 slow handlers: {took:.1f} s")
    assert took < 30
    done = lab.effects()
    eventually(lambda: lab.depth(HAPPENED) == 30 - done)
    assert lab.runs("heard") == done
    lab.process()
    eventually(lambda: lab.effects() == 30, 15)
    eventually(lambda: lab.depth(HAPPENED) == 0)
    assert lab.runs("heard") == 30, "something ran twice"


def test_a_message_of_a_process_that_hangs_in_its_handler_is_cut_off_and_given_back(
        lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.container.DRAIN_S", 0.5)
    lab.start()
    lab.say("endless", behave="slow", seconds=60)
    eventually(lambda: lab.runs("heard endless") == 1)
    began = time.monotonic()
    lab.rooms.stop("lab")
    assert time.monotonic() - began < 10
    eventually(lambda: lab.depth(HAPPENED) == 1)
    assert lab.effects() == 0


@pytest.mark.faults
def test_sigterm_ends_a_process_whose_broker_is_away(lab: Lab) -> None:
    process = lab.process()
    lab.broker.kill()
    eventually(lambda: not process.ready())
    began = time.monotonic()
    assert process.terminate() == 0
    assert time.monotonic() - began < 8


@pytest.mark.faults
def test_a_broker_down_at_the_start_ends_plain_nameko_while_the_chassis_waits_and_then_serves(lab: Lab) -> None:
    nobody = f"amqp://hub:x@127.0.0.1:{free_port()}//"
    assert lab.stock("Dispatching", nobody).wait(20) == 1

    lab.broker.stop()
    process = lab.process(wait_s=None)
    eventually(lambda: '"starting"' in process.log(), 20)
    eventlet.sleep(1.0)
    assert process.alive()
    assert not process.ready()
    lab.broker.start()
    began = time.monotonic()
    process.wait_ready(30)
    measured(f"ready {time.monotonic() - began:.1f} s after the broker")
    assert lab.wait()["pid"] == process.pid


def test_sigterm_ends_a_process_that_waits_for_its_broker(lab: Lab) -> None:
    process = lab.process(wait_s=None, AMQP_URI=f"amqp://hub:x@127.0.0.1:{free_port()}//")
    eventually(lambda: '"starting"' in process.log(), 20)
    began = time.monotonic()
    assert process.terminate() == 0
    assert time.monotonic() - began < 5


def test_changed_queue_arguments_leave_plain_nameko_alive_and_deaf_but_make_the_chassis_unready_with_the_reason(
        lab: Lab) -> None:
    with Connection(lab.vhost.amqp_uri, connect_timeout=30) as connection:
        for name in ("rpc-stock", chassis_broker.rpc_queue("lab", "classic").name):
            Queue(name, exchange=Exchange(""), durable=True, queue_arguments={"x-max-length": 7})(
                connection.default_channel).queue_declare()
    plain = stock.container(stock.Stock, lab.vhost.amqp_uri, lab.home / "runs.log")
    eventlet.spawn(plain.start)
    eventlet.sleep(1.5)
    assert not plain._died.ready()
    assert lab.broker.list_queues(lab.vhost.name)["rpc-stock"].get("consumers", 0) == 0
    plain.kill()

    process = lab.process(wait_s=None)
    eventually(lambda: "inequivalent arg" in _missing(process).get("requests", ""), 20)
    assert process.alive()
    assert not process.ready()
    lab.broker.delete_queue(lab.vhost.name, chassis_broker.rpc_queue("lab", "classic").name)
    process.wait_ready(15)  # mended without a restart


def _missing(process: Process) -> dict[str, str]:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{process.health_url}/readyz", timeout=2) as answer:  # noqa: S310
            assert answer.status == 200
            return {}
    except urllib.error.HTTPError as error:
        missing: dict[str, str] = json.load(error)["missing"]
        return missing
    except OSError:
        return {}


@pytest.mark.faults
def test_a_cpu_block_beyond_the_heartbeat_ends_plain_nameko_and_the_chassis_survives_it(lab: Lab) -> None:
    plain = lab.stock("Stock")
    eventually(lambda: stock_listens(lab, "rpc-stock"))
    lab.broker.publish(lab.vhost.name, "nameko-rpc", "stock.block", json.dumps({"args": [8], "kwargs": {}}),
                       content_type="application/json", reply_to="nobody", correlation_id="x")
    eventually(lambda: lab.runs("block") == 1)
    eventually(lambda: not plain.alive() or lab.runs("block") > 1, 25)
    plain.kill()

    process = lab.process(AMQP_URI=f"{lab.vhost.amqp_uri}?heartbeat=2")
    lab.say("blocks", behave="block", seconds=8)
    eventually(lambda: lab.runs("heard blocks") == 1)
    eventually(lambda: lab.effects("blocks") == 1, 20)
    eventually(process.ready, 20)
    eventually(lambda: lab.depth(HAPPENED) == 0)
    assert lab.wait()["pid"] == process.pid
    assert lab.effects("blocks") == 1


def test_configuration_that_cannot_be_used_ends_the_process_with_two_and_says_why(lab: Lab) -> None:
    env = {"HUB_HOME": str(lab.home), "PYTHONPATH": LAB_PATH, "MAX_WORKERS_LAB": "many", "HUB_ENV": "staging"}
    process = lab.processes.room("lab", env, wait_s=None)
    assert process.wait(20) == 2
    said = process.log()
    assert "lab cannot start" in said
    assert "MAX_WORKERS_LAB" in said
    assert "HUB_ENV" in said
    assert "Traceback" not in said


def test_a_room_that_does_not_exist_is_named(lab: Lab) -> None:
    process = lab.processes.room("kitchen", {"AMQP_URI": lab.vhost.amqp_uri}, wait_s=None)
    assert process.wait(20) == 2
    assert "there is no room 'kitchen'" in process.log()


