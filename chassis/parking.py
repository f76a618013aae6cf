"""Where an event goes that its handler could not take: to a waiting queue and back, in the end to its parking queue.

There is one waiting queue for each length of pause, for the whole hub, made when it is first needed. An event expires
there, and the broker moves it back to the queue that its routing key names. So a failing event holds neither a worker
nor a place among the events in hand, and it may wait for minutes (https://www.rabbitmq.com/docs/ttl).

Each move publishes a copy with a confirm and then settles the original: ended in between, the event is there twice, and
the inbox lets it have one effect.
"""

from __future__ import annotations

from typing import Any

from kombu import Exchange, Queue
from kombu.message import Message

from chassis import broker
from chassis.database import new_id, utcnow
from chassis.publishing import Publisher

TRIES = "hub-tries"
PARKED_BECAUSE = "hub-parked-because"
PARKED_AT = "hub-parked-at"
OURS = frozenset({TRIES, PARKED_BECAUSE, PARKED_AT})
"""Headers that this module sets; an event that is returned to its queue starts without them."""

LONGEST = 300
"""The longest pause, in first pauses: 60 s when the first is 0.2 s."""

WITHIN_S = 5.0
KEPT = ("message_id", "correlation_id", "type", "app_id", "timestamp")
"""Properties that a copy keeps. Not `expiration`: an event that waits for a person must not run out."""

_OF_THE_BROKER = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count", "x-opt-")


def pause_s(first_s: float, tries: int) -> float:
    """Return the seconds to wait after the `tries`-th failure: four times as long each time, up to `LONGEST`."""
    return float(first_s * min(4 ** (tries - 1), LONGEST))


def waiting_queue(pause: float) -> Queue:
    """Return the queue in which events wait for `pause` seconds; what comes by its exchange keeps its routing key."""
    milliseconds = max(round(pause * 1000), 1)
    name = f"wait.{milliseconds}ms.v1"
    return Queue(name, exchange=Exchange(name, type="fanout", durable=True), durable=True, queue_arguments={
        "x-queue-type": "quorum", "x-message-ttl": milliseconds, "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"})


def tries_of(message: Message) -> int:
    """Return how often handlers have failed at this event."""
    return int((message.headers or {}).get(TRIES, 0))


def copy_of(message: Any, headers: dict[str, Any], **changes: Any) -> tuple[bytes, dict[str, Any]]:
    """Return body and properties of a copy of `message`: `headers` less the broker's own, and `changes`."""
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body or b"")
    own = {name: value for name, value in headers.items() if not name.startswith(_OF_THE_BROKER)}
    properties = {name: message.properties[name] for name in KEPT if message.properties.get(name)}
    return body, {"message_id": new_id(), **properties, "delivery_mode": 2, "application_headers": own | changes}


class Aside:
    """Moves events of one process out of the way, over a connection of its own."""

    def __init__(self, amqp_uri: str) -> None:
        self._amqp_uri = amqp_uri
        self._publisher = Publisher(amqp_uri, confirm=True)
        self._declared: set[str] = set()

    def wait(self, message: Message, queue: str, *, tries: int, pause: float) -> None:
        """Keep a copy of the event for `pause` seconds; then the broker puts it into `queue`.

        Raises:
            Unroutable, BrokerAway, or one of broker.CONNECTION_ERRORS: it is not kept there.
        """
        waiting = waiting_queue(pause)
        if waiting.name not in self._declared:
            with broker.connected(self._amqp_uri, heartbeat=0) as connection:
                waiting(connection.default_channel).declare()
            self._declared.add(waiting.name)
        try:
            self._publish(message, waiting.exchange.name, queue, {TRIES: tries})
        except Exception:
            self._declared.discard(waiting.name)  # somebody may have deleted it
            raise

    def park(self, message: Message, queue: str, *, because: Any) -> None:
        """Keep a copy of the event in `<queue>.dead`, with the reason and the time.

        Raises:
            Unroutable or BrokerAway: it is not kept there.
        """
        marks = {PARKED_BECAUSE: str(because)[:300], PARKED_AT: utcnow().isoformat(timespec="seconds")}
        self._publish(message, broker.DEAD.name, f"{queue}.dead", marks)

    def close(self) -> None:
        """Close the connection."""
        self._publisher.close()

    def _publish(self, message: Message, exchange: str, routing_key: str, marks: dict[str, Any]) -> None:
        body, properties = copy_of(message, message.headers or {}, **marks)
        self._publisher.publish(body, exchange=exchange, routing_key=routing_key, within_s=WITHIN_S, mandatory=True,
                                content_type=message.content_type or "application/octet-stream",
                                content_encoding=message.content_encoding or "binary", **properties)
