"""Events per second that leave an outbox, against pipelined confirms on raw py-amqp."""

from __future__ import annotations

from typing import Any

import amqp

from bench.durability import of_product
from bench.floors.order import connect
from bench.rounds import Comparison, alternate
from bench.stage import Stage
from contracts.sales import ORDER_CONFIRMED

COUNT = 4000
BODY = '{"filler": "%s"}' % ("x" * 1400)
"""About as long as an order's event."""
QUEUE = "bench.relay"


def measure(database: str, rounds: int) -> tuple[list[Comparison], dict[str, Any]]:
    """Return the comparison, and the settings that both sides had."""
    exchange, routing_key = ORDER_CONFIRMED.exchange, ORDER_CONFIRMED.routing_key
    with Stage(database) as stage:
        stage.bind_sink(exchange, routing_key, QUEUE)
        channel = connect(stage.amqp_uri).channel()
        bare = stage.program("bench.floors.relay", stage.amqp_uri, exchange, routing_key)
        ours = stage.program("bench.relay_run", stage.amqp_uri, stage.db_uri("relay"))

        def floor() -> float:
            return COUNT / float(bare.ask(count=COUNT, body=BODY, queue=QUEUE)["took_s"])

        def product() -> float:
            rate = COUNT / float(ours.ask(count=COUNT, body=BODY)["took_s"])
            _assert_kept(channel)
            return rate

        floor(), product()
        measured = alternate(rounds, floor, product)
        settings = of_product(stage.db_uri("relay"))
    name = f"relay, batches of {ours.hello['batch']}"
    return [Comparison(name, "1/s", [m[0] for m in measured], [m[1] for m in measured], "more", 0.6, 0.6)], {
        "relay": settings}


def _assert_kept(channel: amqp.Channel) -> None:
    """Every event is in the queue, persistent; then the queue is emptied for the next round."""
    message = channel.basic_get(QUEUE, no_ack=True)
    assert message is not None
    assert message.properties["delivery_mode"] == 2, "the relay's messages would not survive the broker"
    assert channel.queue_purge(QUEUE) == COUNT - 1, "the relay said sent, and the queue has not all of it"
