"""Requests that are malformed, late, slow or met by a failure: plain nameko first, then the chassis."""

from __future__ import annotations

import json
import time
from typing import Any

import eventlet
import pytest
from nameko.standalone.rpc import ClusterRpcProxy

from chassis import broker as chassis_broker
from contracts import errors
from tests.service.chassis import stock
from tests.service.chassis.laboratory import Lab, eventually, measured

RPC_QUEUE = chassis_broker.rpc_queue("lab", "classic").name
PARKED = f"{RPC_QUEUE}.dead"


def ask(lab: Lab, payload: str, **properties: Any) -> None:
    properties = {"content_type": "application/json", "content_encoding": "utf-8", **properties}
    assert lab.broker.publish(lab.vhost.name, "hub.rpc", "lab.wait", payload, **properties)


def test_a_request_without_reply_to_ends_plain_nameko_and_is_parked_by_the_chassis(lab: Lab) -> None:
    plain = stock.container(stock.Stock, lab.vhost.amqp_uri, lab.home / "runs.log")
    plain.start()
    lab.broker.publish(lab.vhost.name, "nameko-rpc", "stock.wait", json.dumps({"args": [0], "kwargs": {}}),
                       content_type="application/json")
    with pytest.raises(KeyError, match="reply_to"):  # it has ended itself
        plain.wait()
    assert lab.depth("rpc-stock") == 1  # and its successor will meet the same message

    container = lab.start()
    ask(lab, json.dumps({"request": {}}), headers={"hub-token": "secret"})
    eventually(lambda: lab.depth(PARKED) == 1)
    parked = lab.broker.messages(lab.vhost.name, PARKED)[0]
    assert "hub-token" not in parked["properties"]["headers"]
    assert "reply_to" in parked["properties"]["headers"]["hub-parked-because"]
    assert not container._died.ready()
    assert lab.wait()["pid"]


@pytest.mark.parametrize(("payload", "properties"), [
    ("\x01\x02 not JSON", {"reply_to": "x"}),
    ("[1, 2]", {"reply_to": "x"}),
    ('{"request": 7}', {"reply_to": "x"}),
    ("cos\nsystem\n", {"reply_to": "x", "content_type": "application/x-python-serialize"}),
    ('{"request": {}}', {"reply_to": "x", "headers": {"hub-timeout-ms": "soon"}}),
], ids=["bytes", "list", "no-mapping", "pickle", "patience"])
def test_a_request_that_cannot_be_read_is_parked_and_the_next_is_answered(
        lab: Lab, payload: str, properties: dict[str, Any]) -> None:
    lab.start()
    ask(lab, payload, **properties)
    eventually(lambda: lab.depth(PARKED) == 1)
    assert lab.broker.messages(lab.vhost.name, PARKED)[0]["payload"] == payload
    assert lab.wait()["pid"]


def test_an_undecodable_request_is_acknowledged_and_lost_by_plain_nameko(lab: Lab) -> None:
    plain = stock.container(stock.Stock, lab.vhost.amqp_uri, lab.home / "runs.log")
    plain.start()
    lab.broker.publish(lab.vhost.name, "nameko-rpc", "stock.wait", "not JSON", content_type="application/json",
                       content_encoding="utf-8", reply_to="x")
    eventlet.sleep(1.0)
    plain.stop()
    assert lab.depth("rpc-stock") == 0


def test_plain_nameko_waits_for_ever_and_the_chassis_as_long_as_the_call_may(lab: Lab) -> None:
    plain = [stock.container(each, lab.vhost.amqp_uri, lab.home / "runs.log") for each in (stock.Stock, stock.Asking)]
    for each in plain:
        each.start()
    with ClusterRpcProxy({"AMQP_URI": lab.vhost.amqp_uri}, timeout=3) as cluster, pytest.raises(Exception, match="3"):
        cluster.asking.ask()
    assert plain[1]._worker_threads  # the caller inside the service still waits
    for each in plain:
        each.kill()

    lab.start()
    lab.wait()
    began = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded):
        lab.wait(3.0, timeout_s=0.5)
    assert time.monotonic() - began < 1.0
    assert lab.rooms.caller.replies._reply_events == {}


def test_a_request_that_waited_longer_than_its_caller_is_never_run(lab: Lab) -> None:
    lab.start(MAX_WORKERS_LAB="1")
    lab.rooms.caller  # noqa: B018 (connects)
    busy = eventlet.spawn(lab.wait, 2.0)
    eventually(lambda: lab.runs("wait") == 1)
    with pytest.raises(errors.DeadlineExceeded):
        lab.add("stale", timeout_s=0.5)
    busy.wait()
    lab.wait()
    assert lab.runs("add") == 0
    assert lab.notes() == []


def test_an_error_arrives_as_text_from_plain_nameko_and_typed_from_the_chassis(lab: Lab) -> None:
    plain = stock.container(stock.Stock, lab.vhost.amqp_uri, lab.home / "runs.log")
    plain.start()
    with ClusterRpcProxy({"AMQP_URI": lab.vhost.amqp_uri}, timeout=5) as cluster, \
            pytest.raises(Exception, match="13800138000"):  # internals and personal data travel
        cluster.stock.refuse()
    plain.stop()

    lab.start()
    with pytest.raises(errors.InsufficientStock) as refused:
        lab.add(fail="stock")
    assert refused.value.fields == {"sku": "A-1", "available": "3"}
    with pytest.raises(errors.InternalError) as broken:
        lab.add(fail="bug", request_id="r-1")
    assert "13800138000" not in json.dumps(broken.value.to_wire())
    assert broken.value.fields == {"request_id": "r-1"}


def p95(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.95)]


def test_twenty_slow_events_delay_a_request_of_plain_nameko_but_not_of_the_chassis(lab: Lab) -> None:
    plain = stock.container(stock.Listener, lab.vhost.amqp_uri, lab.home / "runs.log")
    plain.start()
    for number in range(20):
        lab.broker.publish(lab.vhost.name, "outside.events", "thing.happened",
                           json.dumps({"name": str(number), "seconds": 1.5}), content_type="application/json")
    with ClusterRpcProxy({"AMQP_URI": lab.vhost.amqp_uri}, timeout=15) as cluster:
        began = time.monotonic()
        cluster.listener.wait(0)
        stock_s = time.monotonic() - began
    plain.kill()

    lab.start()
    lab.wait()
    for number in range(20):
        lab.say(str(number), behave="slow", seconds=0.3)
    lab.broker.purge(lab.vhost.name, "evt-outside-thing.happened--listener.happened")
    times = []
    for _ in range(20):
        began = time.monotonic()
        lab.wait()
        times.append(time.monotonic() - began)
    measured(f"a request beside 20 slow events: plain nameko {stock_s:.2f} s, chassis p95 {p95(times) * 1000:.0f} ms")
    assert stock_s > 0.7
    assert p95(times) < 0.4


def test_nobody_there_is_known_within_two_seconds(lab: Lab) -> None:
    lab.rooms.caller  # noqa: B018 (connects)
    began = time.monotonic()
    with pytest.raises(errors.Unavailable, match="lab service is not there"):
        lab.wait(timeout_s=30)
    assert time.monotonic() - began < 1.0  # no queue at all: the broker says so
    lab.start()
    lab.wait()
    lab.rooms.stop("lab")
    began = time.monotonic()
    with pytest.raises(errors.Unavailable, match="lab service is not there"):
        lab.wait(timeout_s=30)
    assert time.monotonic() - began < 2.0  # a queue that nobody consumes


def test_every_operation_is_answered_though_many_callers_share_one_connection(lab: Lab) -> None:
    lab.start()
    lab.wait()
    calls = [eventlet.spawn(lab.add, f"n{number}", timeout_s=20) for number in range(60)]
    assert sorted(call.wait().value["text"] for call in calls) == sorted(f"n{number}" for number in range(60))
    assert lab.rooms.caller.replies._reply_events == {}
