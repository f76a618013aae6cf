"""Connections to RabbitMQ, the names of queues, and how they are declared.

Every queue name carries its version and, for requests, its type: RabbitMQ refuses to redeclare a queue with other
arguments, so a change of arguments is a new name and the old queue is drained and deleted by an operator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import amqp
import kombu
import kombu.serialization
from amqp.exceptions import AMQPError, MessageNacked
from amqp.exceptions import NotFound as QueueNotFound
from eventlet import getcurrent
from eventlet.hubs import get_hub
from eventlet.timeout import Timeout
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

from chassis.patience import AtMost
from contracts.envelope import CONTENT_TYPE
from contracts.event import EventType

RPC_EXCHANGE = Exchange("hub.rpc", type="topic", durable=True)
DEAD = Exchange("hub.dead", type="direct", durable=True)
PARKED_FOR_MS = 24 * 3600 * 1000
"""Parked requests are kept a day. Parked events stay until somebody has dealt with them."""

CONNECT_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 1.0
HEARTBEAT_S = 15
LISTEN_S = 1.0
"""Seconds between two heartbeat ticks of a connection on which nothing comes."""
READ_AHEAD = 16_384
"""Bytes asked of the socket at once: py-amqp would take each frame in three turns through the event loop."""
CRASH_LIMIT = 20
"""Returns after which the broker itself parks an event. A handler that fails is parked by the chassis long before; this
bounds events whose handler ends the whole process. It is no setting: a queue keeps the arguments it was made with."""

CONNECTION_ERRORS: tuple[type[Exception], ...] = (AMQPError, MessageNacked, OperationalError, OSError)
"""What kombu and py-amqp raise when the broker is away, closes a channel, or refuses us or a message."""

kombu.serialization.register("cloudevents", lambda value: kombu.serialization.dumps(value, "json")[2],
                             lambda text: kombu.serialization.loads(text, "application/json", "utf-8"),
                             content_type=CONTENT_TYPE, content_encoding="utf-8")
ACCEPT = ["application/json", CONTENT_TYPE]
"""JSON only: a pickled message is never opened."""


@contextmanager
def connected(amqp_uri: str, *, heartbeat: int = HEARTBEAT_S) -> Iterator[Connection]:
    """Open a connection, and close it within `CLOSE_TIMEOUT_S` whatever the broker does.

    Several brokers may be named (`amqp://a;amqp://b`); each is tried once.

    Args:
        amqp_uri: where the broker is.
        heartbeat: seconds between heartbeats; the caller ticks and reads. 0 for connections of a moment.

    Raises:
        one of CONNECTION_ERRORS: nobody answered in `CONNECT_TIMEOUT_S` seconds each.
    """
    connection = Connection(amqp_uri, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=heartbeat)
    link: Any = None
    try:
        tries = max(len(connection.alt), 1)
        with Timeout(tries * CONNECT_TIMEOUT_S + 0.5, TimeoutError("the broker takes the connection and says nothing")):
            connection.ensure_connection(max_retries=tries - 1, interval_start=0, interval_step=0, interval_max=0)
        link = connection.connection
        _read_in_one_place(link)
        yield connection
    finally:
        if link is not None:
            close(link)


def _read_in_one_place(link: amqp.Connection) -> None:
    """Let whoever drains a connection be the only one who reads it, a lot at once.

    py-amqp looks for `connection.blocked` with each publish, amid what another greenlet is reading; what the transport
    has kept of one would be lost to the other. Nobody here acts on that notice: a publish waits for its confirm.
    """
    link.client_properties.get("capabilities", {}).pop("connection.blocked", None)
    transport: Any = link.transport
    # A private name of py-amqp 5, which keeps what is more than it needs now.
    transport._quick_recv = _Reader(transport._quick_recv)


class _Reader:
    """Reads a connection's socket. The wait of whoever listens can be ended, not that for an answer of the broker."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self.listening = False
        self._receive = receive
        self._waiting: Any = None

    def __call__(self, size: int) -> bytes:
        self._waiting = getcurrent()
        try:
            return self._receive(max(size, READ_AHEAD))
        finally:
            self._waiting = None

    def wake(self) -> None:
        if self.listening and self._waiting is not None:
            get_hub().schedule_call_global(0, self._end_wait, self._waiting)

    def _end_wait(self, waiting: Any) -> None:
        # Bytes may have come meanwhile: then nobody waits here any more, or for something else.
        if self.listening and self._waiting is waiting:
            waiting.throw(TimeoutError("woken"))


def listen(link: amqp.Connection) -> None:
    """Take what the broker sends next on a connection that `connected` has opened; return after `LISTEN_S` at most.

    Whoever has something else to tell the listener ends its wait (`wake`), so that it need not look all the time.

    Raises:
        one of CONNECTION_ERRORS: the broker has gone.
    """
    reader = link.transport._quick_recv
    reader.listening = True
    try:
        with suppress(TimeoutError):
            link.drain_events(timeout=LISTEN_S)
    finally:
        reader.listening = False


def wake(link: amqp.Connection) -> None:
    """Let whoever listens return at once."""
    transport: Any = link.transport
    if transport is not None:
        transport._quick_recv.wake()


def close(link: amqp.Connection) -> None:
    """Close a connection in order if the broker answers soon, else cut it."""
    try:
        # A stopped broker never answers Close, and under eventlet py-amqp's own read timeout has no effect.
        with AtMost(CLOSE_TIMEOUT_S):
            link.close()
    except CONNECTION_ERRORS:
        pass
    finally:
        with AtMost(CLOSE_TIMEOUT_S):
            link.collect()


def rpc_queue(service: str, queue_type: str) -> Queue:
    """Return the queue of a service's requests."""
    name = f"rpc.{service}.{queue_type}.v1"
    arguments: dict[str, Any] = {"x-queue-type": queue_type}
    if queue_type == "quorum":
        arguments |= {"x-delivery-limit": 3, "x-dead-letter-exchange": DEAD.name,
                      "x-dead-letter-routing-key": f"{name}.dead"}
    return Queue(name, exchange=RPC_EXCHANGE, routing_key=f"{service}.*", durable=True, queue_arguments=arguments)


def event_queue(event: EventType, service: str, handler: str) -> Queue:
    """Return the quorum queue on which `service` keeps `event` for its method `handler`.

    A rejected message moves to `<queue>.dead` (at-least-once dead lettering, which needs `reject-publish`:
    https://www.rabbitmq.com/docs/quorum-queues#dead-lettering).
    """
    name = f"evt.{service}.{handler}.{event.type}.v1"
    return Queue(name, exchange=Exchange(event.exchange, type="topic", durable=True), routing_key=event.routing_key,
                 durable=True, queue_arguments={
                     "x-queue-type": "quorum", "x-delivery-limit": CRASH_LIMIT,
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


def is_served(connection: Connection, queue_name: str) -> bool:
    """Tell whether a queue is consumed, or at least nothing waits in it.

    A process that drains consumes no more, and still answers what it has taken.
    """
    channel = connection.channel()
    try:
        stands = channel.queue_declare(queue_name, passive=True)
    except QueueNotFound:
        return False
    # Only here: a caller whose time is up must not wait for a stopped broker to let go of the channel.
    channel.close()
    return bool(stands.consumer_count > 0 or stands.message_count == 0)


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
            with connected(amqp_uri, heartbeat=0):
                return True
        except CONNECTION_ERRORS as error:
            told("the broker does not answer" + (f": {error}" if isinstance(error, AMQPError) else ""))
        time.sleep(pause)
        pause = min(pause * 1.5, 2.0)
    return False
