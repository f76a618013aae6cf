"""What reading, creating, confirming and delivering cost, to the last statement and frame.

A time depends on the machine; these do not. bench/counts.json holds them, and `make bench` prints them too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bench.counts import expected
from tests.service.counts.hub import MeteredHub, tame
from tests.service.counts.meter import Cost, Meter, Wire
from tests.support.broker import Management
from tests.support.processes import Processes

pytestmark = pytest.mark.timeout(300)  # the first test waits for the whole hub

WORKS = ("read a customer", "find out who is asking, and read a customer", "create a customer", "confirm an order",
         "deliver an order")


@pytest.fixture(scope="module")
def measured(broker: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Cost]]:
    """Each piece of work, measured the second time it is done: connections and caches are warm, as in a running hub."""
    broker.start()
    vhost = broker.create_vhost()
    home = tmp_path_factory.mktemp("metered")
    meter, processes = Meter(), Processes(home)
    wire = Wire(broker.node.port, meter)
    through = vhost.amqp_uri.replace(f":{broker.node.port}/", f":{wire.port}/")
    with pytest.MonkeyPatch.context() as patch, meter.on_databases():
        tame(patch)
        hub = MeteredHub(home, through, meter, processes)
        try:
            yield _measure(hub)
        finally:
            hub.stop()
            processes.stop_all()
            wire.close()
            broker.delete_vhost(vhost.name)


def _measure(hub: MeteredHub) -> dict[str, Cost]:
    hub.settle()  # signing in changed who may do what, and the gateway hears of it
    customer = hub.create_customer()
    hub.settle()
    costs = {"create a customer": hub.measure(hub.create_customer)}

    def read() -> None:
        hub.door.ask("GET", f"/customers/{customer}")

    def read_as_a_stranger() -> None:
        hub.forget_who_is_who()
        read()

    read()
    costs["read a customer"] = hub.measure(read)
    costs["find out who is asking, and read a customer"] = hub.measure(read_as_a_stranger)
    hub.connect()
    first, second, third = (hub.draft(customer) for _ in range(3))
    hub.settle()
    _confirm(hub, first)  # brings the customer to the target too
    hub.settle()
    hub.hold()
    _confirm(hub, second)
    hub.settle()
    hub.deliver()
    costs["confirm an order"] = hub.measure(lambda: _confirm(hub, third))
    costs["deliver an order"] = hub.measure(hub.deliver)
    return costs


def _confirm(hub: MeteredHub, order_id: str) -> None:
    hub.door.ask("POST", f"/orders/{order_id}/confirm", Idempotency_Key=f"confirm-{order_id}")


@pytest.mark.parametrize("work", WORKS)
def test_a_piece_of_work_costs_what_it_did_yesterday(work: str, measured: dict[str, Cost]) -> None:
    now, before = measured[work].figures, expected().get(work, {})
    differences = [f"To {work}, {what} {'rose' if is_ > was else 'fell'} from {was} to {is_}."
                   for what, was, is_ in _pairs(before, now) if was != is_]
    told = [*differences, f"If that is meant, bench/counts.json becomes {json.dumps({work: now})}", "It ran:",
            *measured[work].statements]
    assert not differences, "\n".join(told)


def _pairs(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Return (what, before, now) of every figure that either side has."""
    words = {"commits": "commits in {}", "statements": "SQL statements in {}",
             "compiled": "SQL statements compiled anew in {}", "messages": "AMQP messages of kind {}"}
    pairs = [("AMQP frames", before.get("frames", 0), now["frames"]),
             ("calls to the target", before.get("calls", 0), now["calls"])]
    for kind, sentence in words.items():
        was, is_ = before.get(kind, {}), now.get(kind, {})
        pairs += [(sentence.format(name), was.get(name, 0), is_.get(name, 0)) for name in sorted({*was, *is_})]
    return pairs


def test_a_rise_is_told_by_a_sentence_that_names_what_rose() -> None:
    before: dict[str, Any] = {"commits": {"sales": 1}, "statements": {}, "messages": {}, "frames": 4, "calls": 0}
    now = {**before, "commits": {"sales": 2}}
    assert [pair for pair in _pairs(before, now) if pair[1] != pair[2]] == [("commits in sales", 1, 2)]
