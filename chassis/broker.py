"""Connections to RabbitMQ, the names of queues, and how they are declared.

Every queue name carries its version and, for requests, its type: RabbitMQ refuses to redeclare a queue with other
arguments, so a change of arguments is a new name and the old queue is drained and deleted by an operator.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import kombu
import kombu.serialization
from amqp.exceptions import NotFound as QueueNotFound
from kombu import Connection, Exchange, Queue

from contracts.envelope import CONTENT_TYPE
from contracts.event import EventType

RPC_EXCHANGE = Exchange("hub.rpc", type="topic", durable=True)
DEAD = Exchange("hub.dead", type="direct", durable=True)
PARKED_FOR_MS = 24 * 3600 * 1000
"""Parked requests are kept a day. Parked events stay until somebody has dealt with them."""

CONNECT_TIMEOUT_S = 2.0
HEARTBEAT_S = 15

CONNECTION_ERRORS: tuple[type[Exception], ...] = (
    *Connection("memory://").connection_errors, *Connection("amqp://").recoverable_connection_errors, OSError)
"""What kombu and py-amqp raise when the broker is away."""

kombu.serialization.register("cloudevents", lambda value: kombu.serialization.dumps(value, "json")[2],
                             lambda text: kombu.serialization.loads(text, "application/json", "utf-8"),
                             content_type=CONTENT_TYPE, content_encoding="utf-8")
ACCEPT = ["application/json", CONTENT_TYPE]
"""JSON only: a pickled message is never opened."""


def connect(amqp_uri: str, *, heartbeat: int = 0, confirm: bool = False) -> Connection:
    """Return a lazy connection that gives up connecting after `CONNECT_TIMEOUT_S` seconds.

    Args:
        amqp_uri: where the broker is.
        heartbeat: seconds between heartbeats; 0 for connections that nobody watches (kombu's pools).
        confirm: whether publishing waits for the broker's confirm.
    """
    options: dict[str, Any] = {"read_timeout": 30, "write_timeout": 10}
    return Connection(amqp_uri, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=heartbeat,
                      transport_options=options | ({"confirm_publish": True} if confirm else {}))


def rpc_queue(service: str, queue_type: str) -> Queue:
    """Return the queue of a service's requests."""
    name = f"rpc.{service}.{queue_type}.v1"
    arguments: dict[str, Any] = {"x-queue-type": queue_type}
    if queue_type == "quorum":
        arguments |= {"x-delivery-limit": 3, "x-dead-letter-exchange": DEAD.name, "x-dead-letter-routing-key": f"{name}.dead"}
    return Queue(name, exchange=RPC_EXCHANGE, routing_key=f"{service}.*", durable=True, queue_arguments=arguments)


def event_queue(event: EventType, service: str, handler: str, delivery_limit: int) -> Queue:
    """Return the quorum queue on which `service` keeps `event` for its method `handler`.

    A message that fails `delivery_limit` times moves to `<queue>.dead` (at-least-once dead lettering, which needs
    `reject-publish`: https://www.rabbitmq.com/docs/quorum-queues#dead-lettering).
    """
    name = f"evt.{service}.{handler}.{event.type}.v1"
    return Queue(name, exchange=Exchange(event.exchange, type="topic", durable=True), routing_key=event.routing_key,
                 durable=True, queue_arguments={
                     "x-queue-type": "quorum", "x-delivery-limit": delivery_limit,
                     "x-dead-letter-exchange": DEAD.name, "x-dead-letter-routing-key": f"{name}.dead",
                     "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"})


def parking_queue(queue: Queue, *, keep_ms: int | None = None) -> Queue:
    """Return the queue where messages of `queue` that cannot be handled wait for a person."""
    name = f"{queue.name}.dead"
    arguments: dict[str, Any] = {"x-queue-type": "quorum"} | ({"x-message-ttl": keep_ms} if keep_ms else {})
    return Queue(name, exchange=DEAD, routing_key=name, durable=True, queue_arguments=arguments)


def control_queue(service: str) -> Queue:
    """Return the queue on which a service is asked to send events again."""
    return Queue(f"control.{service}.v1", durable=True, queue_arguments={"x-queue-type": "quorum"})


def exists(connection: Connection, queue_name: str) -> bool:
    """Tell whether a queue stands, without making it."""
    try:
        with connection.channel() as channel:
            channel.queue_declare(queue_name, passive=True)
    except QueueNotFound:
        return False
    return True


def consumers_of(connection: Connection, queue_name: str) -> int:
    """Return how many consumers a queue has; 0 when there is no such queue."""
    try:
        with connection.channel() as channel:
            return int(channel.queue_declare(queue_name, passive=True).consumer_count)
    except QueueNotFound:
        return 0


def wait_until_up(amqp_uri: str, *, give_up: Callable[[], bool], told: Callable[[str], None]) -> bool:
    """Wait for the broker to accept a connection.

    Args:
        amqp_uri: where it should be.
        give_up: asked between attempts.
        told: called with the reason each time it is still away.

    Returns:
        Whether it is up; False only when `give_up` said so.
    """
    pause = 0.2
    while not give_up():
        try:
            with connect(amqp_uri) as connection:
                connection.ensure_connection(max_retries=1, timeout=CONNECT_TIMEOUT_S)
            return True
        except CONNECTION_ERRORS as error:
            told(f"the broker does not answer: {type(error).__name__}")
        time.sleep(pause)
        pause = min(pause * 1.5, 2.0)
    return False
