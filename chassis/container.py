"""nameko's container and queue consumer, made to drain: finish what was begun, acknowledge it, then close.

This leans on private names of nameko 2.14.1 (`_worker_pool`, `_consumers`, `_cancel_consumers_if_requested`), which is
why nameko is pinned exactly; each behaviour has a test that first shows the stock one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from amqp.exceptions import PreconditionFailed
from eventlet.greenpool import GreenPool
from kombu import Connection
from kombu.message import Message
from nameko.containers import ServiceContainer
from nameko.exceptions import ContainerBeingKilled
from nameko.messaging import QueueConsumer

from chassis import broker, telemetry
from chassis.runtime import Runtime

log = telemetry.logger(__name__)

RUNTIME = "HUB_RUNTIME"
"""The key of nameko's configuration under which the `Runtime` is found."""


class HubContainer(ServiceContainer):
    """A container with one pool for requests and one for events, so that slow events never delay a request."""

    def __init__(self, service_cls: type, config: dict[str, Any]) -> None:
        super().__init__(service_cls, config)
        self.runtime: Runtime = config[RUNTIME]
        self.draining = False
        self._pools = {"requests": self._worker_pool, "events": GreenPool(self.runtime.settings.event_workers)}

    def spawn_worker(self, entrypoint: Any, args: Any, kwargs: Any, context_data: Any = None,
                     handle_result: Callable[..., Any] | None = None) -> Any:
        """Run a worker in the pool that its entrypoint names."""
        if self.draining:
            raise ContainerBeingKilled
        self._worker_pool = self._pools[getattr(entrypoint, "pool", "requests")]
        try:
            return super().spawn_worker(entrypoint, args, kwargs, context_data, handle_result)
        finally:
            self._worker_pool = self._pools["requests"]

    def stop(self) -> None:
        """Drain: cancel the consumers, finish the workers, acknowledge, close."""
        self.runtime.health.report("drain", "this process is stopping")
        super().stop()
        self._pools["events"].waitall()


def _ticket(message: Message) -> tuple[int, int]:
    return id(message.channel), message.delivery_tag


class DrainingConsumer(QueueConsumer):
    """A queue consumer whose connection stays open until its last message is settled."""

    def __init__(self) -> None:
        super().__init__()
        self._unsettled: set[tuple[int, int]] = set()

    @property
    def _runtime(self) -> Runtime:
        runtime: Runtime = self.container.config[RUNTIME]
        return runtime

    @property
    def connection(self) -> Connection:
        """The connection that kombu's mixin clones for each attempt."""
        return broker.connect(self._runtime.settings.amqp_uri, heartbeat=broker.HEARTBEAT_S)

    @property
    def accept(self) -> list[str]:
        """JSON only."""
        return broker.ACCEPT

    @property
    def prefetch_count(self) -> int:
        """Messages in hand per queue: as many as can be worked on."""
        return self._runtime.settings.max_workers

    @property
    def name(self) -> str:
        """What readiness calls it."""
        return "requests"

    def setup(self) -> None:
        """Be unready until the queues are consumed."""
        self._runtime.health.report(self.name, "not consuming yet")

    def consume(self, limit: int | None = None, timeout: float | None = None, safety_interval: float = 0.5,
                **kwargs: Any) -> Iterator[Any]:
        """Consume; a queue that stands with other arguments makes the process unready, not silently idle."""
        try:
            yield from super().consume(limit, timeout, safety_interval, **kwargs)
        except PreconditionFailed as error:
            self._runtime.health.report(self.name, f"{error.reply_text} - drain and delete that queue, or restore the "
                                                   "setting that shaped it")
            log.error("queue_arguments_differ", reason=error.reply_text)
            raise

    def on_consume_ready(self, connection: Any, channel: Any, consumers: Any, **kwargs: Any) -> None:
        """Be ready."""
        self._runtime.health.report(self.name, None)
        super().on_consume_ready(connection, channel, consumers, **kwargs)

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        """Be unready while the broker is away."""
        self._runtime.health.report(self.name, "the broker is away")
        log.warning("broker_away", consumer=self.name, error=type(exc).__name__, retry_in_s=interval)

    def get_consumers(self, consumer_cls: Any, channel: Any) -> Any:
        """Declare what providers need, then consume."""
        self._unsettled.clear()  # of an earlier connection: the broker gives those messages out again
        for provider in self._providers:
            declare = getattr(provider, "declare", None)
            if declare is not None:
                declare(channel)
        return super().get_consumers(consumer_cls, channel)

    def handle_message(self, provider: Any, body: Any, message: Message) -> None:
        """Hand a message to its entrypoint in a greenlet of its own."""
        self._unsettled.add(_ticket(message))
        self.container.spawn_managed_thread(partial(provider.handle_message, body, message))

    def on_iteration(self) -> None:
        """Stop only when nobody consumes and nothing is left to acknowledge."""
        self._cancel_consumers_if_requested()
        if not self._consumers and not self._unsettled:
            self.should_stop = True

    def ack_message(self, message: Message) -> None:
        """Acknowledge; if the connection has gone, the broker gives the message out again and its inbox row meets it."""
        self._settle(message.ack, message)

    def requeue_message(self, message: Message) -> None:
        """Give the message back."""
        self._settle(message.requeue, message)

    def park_message(self, message: Message) -> None:
        """Move the message to its parking queue."""
        self._settle(message.reject, message)

    def _settle(self, verb: Callable[[], None], message: Message) -> None:
        self._unsettled.discard(_ticket(message))
        if message.channel is None or message.channel.connection is None:
            return
        try:
            verb()
        except broker.CONNECTION_ERRORS as error:
            # Stock nameko lets an OSError here kill the container (seen after a CPU block beyond the heartbeat).
            log.warning("ack_lost", error=type(error).__name__)

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Park what is not JSON; kombu's default acknowledges it, and it is gone."""
        log.error("message_undecodable", routing_key=message.delivery_info.get("routing_key"),
                  error=type(exc).__name__)
        message.reject()


class EventConsumer(DrainingConsumer):
    """The consumer of event queues: a connection and a prefetch of its own."""

    @property
    def prefetch_count(self) -> int:
        """Events in hand per queue."""
        return self._runtime.settings.event_workers

    @property
    def name(self) -> str:
        """What readiness calls it."""
        return "events"
