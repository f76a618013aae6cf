"""The floor of the relay: raw py-amqp, persistent and mandatory, confirms pipelined over batches of 500."""

from __future__ import annotations

import sys
import time
from typing import Any

import amqp

from bench.floors.order import connect
from bench.stage import commands

BATCH = 500


def main(amqp_uri: str, exchange: str, routing_key: str) -> None:
    """Publish `count` messages each time it is told to; answers with the seconds it took."""

    def publish(order: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        connection = connect(amqp_uri)
        channel = connection.channel()
        channel.confirm_select()
        waiting: set[int] = set()

        def confirmed(tag: int, multiple: bool) -> None:
            waiting.difference_update([t for t in waiting if t <= tag] if multiple else [tag])

        channel.events["basic_ack"].add(confirmed)
        tag, body = 0, order["body"]
        for _ in range(order["count"] // BATCH):
            for _ in range(BATCH):
                tag += 1
                waiting.add(tag)
                message = amqp.Message(body, delivery_mode=2, message_id=f"{tag:036d}", content_encoding="utf-8",
                                       content_type="application/cloudevents+json")
                channel._basic_publish(message, exchange, routing_key, mandatory=True)
            while waiting:
                connection.drain_events(timeout=30)
        took = time.monotonic() - began
        channel.queue_purge(order["queue"])
        connection.close()
        return {"took_s": took}

    commands(publish, {"batch": BATCH})


if __name__ == "__main__":
    main(*sys.argv[1:])
