"""What a service class is made of: operations it exposes, events it hears, work it does in the background.

    class SalesService(Service):
        name = "sales"

        @exposes(contract.CONFIRM_ORDER)
        def confirm_order(self, call: Call) -> Order: ...

        @hears(customers.CUSTOMER_UPDATED)
        def customer_updated(self, event: Heard) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Protocol

import eventlet
from kombu import Exchange, Queue
from kombu.message import Message
from nameko.exceptions import ContainerBeingKilled
from nameko.extensions import DependencyProvider, Entrypoint
from sqlalchemy.orm import Session

from chassis import broker, control, inbox, telemetry
from chassis.container import RUNTIME, EventConsumer
from chassis.database import new_id
from chassis.failpoints import failpoint
from chassis.rpc import Call, exposes
from chassis.runtime import Runtime, prune
from chassis.snapshot import Snapshots, SnapshotSource
from contracts.envelope import Envelope, MalformedEnvelope
from contracts.errors import Invalid, Unavailable
from contracts.event import EventType
from contracts.schema import unpack

log = telemetry.logger(__name__)


@dataclass(frozen=True)
class Heard:
    """What an event handler is given.

    Attributes:
        session: the transaction of inbox row and effect.
        envelope: the event as it travelled; `envelope.entityversion` tells a projection whether it is news.
        data: the payload as Python values, sensitive fields opened.
        runtime: the process's parts.
    """

    session: Session
    envelope: Envelope
    data: dict[str, Any]
    runtime: Runtime


def hears(event: EventType) -> Callable[[Callable[..., None]], Any]:
    """Give the method every `event`, once in effect, in the transaction of its inbox row.

    While the database is away the event waits in the worker. Any other error gives it back; after `delivery_limit`
    times it is parked in `<queue>.dead`, and other events pass it meanwhile.
    """

    def decorate(method: Callable[[Any, Heard], None]) -> Any:
        @wraps(method)
        def door(service: Any, envelope: Envelope) -> None:
            runtime: Runtime = service.runtime
            token = telemetry.correlation.set(
                {"request_id": envelope.correlationid, "traceparent": envelope.traceparent})
            try:
                data = unpack(event.data, envelope.data)
                with runtime.db.write() as session:
                    if inbox.first_time(session, envelope.id, method.__name__):
                        method(service, Heard(session, envelope, data, runtime))
                    failpoint("inbox.before_commit")
                failpoint("inbox.after_commit")
            finally:
                telemetry.correlation.reset(token)

        return _Hears.decorator(event=event)(door)

    return decorate


class _Hears(Entrypoint):
    """The entrypoint behind `@hears`."""

    queue_consumer = EventConsumer()
    pool = "events"

    def __init__(self, *, event: EventType, **kwargs: Any) -> None:
        self.event = event
        self.queue: Queue = None
        super().__init__(**kwargs)

    @property
    def _runtime(self) -> Runtime:
        runtime: Runtime = self.container.config[RUNTIME]
        return runtime

    def setup(self) -> None:
        """Choose the queue; it is declared at every (re)connection."""
        self.queue = broker.event_queue(self.event, self.container.service_name, self.method_name,
                                        self._runtime.settings.delivery_limit)
        self.queue_consumer.register_provider(self)

    def stop(self) -> None:
        """Stop consuming; what is in hand is finished first."""
        self.queue_consumer.unregister_provider(self)

    def declare(self, channel: Any) -> None:
        """Declare parking and queue; a queue that had to be made has missed events, so ask for them again."""
        broker.parking_queue(self.queue)(channel).declare()
        if broker.exists(channel.connection.client, self.queue.name):
            return
        self.queue(channel).declare()
        control.ask_resend(channel, self.event, self.container.service_name)

    def handle_message(self, body: Any, message: Message) -> None:
        """Read the envelope and give it to a worker; what is no event of ours is parked at once."""
        try:
            envelope = Envelope.from_wire(body)
        except MalformedEnvelope as error:
            log.error("event_parked", queue=self.queue.name, reason=str(error))
            self.queue_consumer.park_message(message)
            return
        try:
            self.container.spawn_worker(self, (envelope,), {}, handle_result=partial(self.settle, envelope, message))
        except ContainerBeingKilled:
            self.queue_consumer.requeue_message(message)

    def settle(self, envelope: Envelope, message: Message, _worker: Any, result: Any,
               exc_info: Any) -> tuple[Any, Any]:
        """Acknowledge, wait out an absent database, park what can never work, give back the rest."""
        error = exc_info[1] if exc_info else None
        if isinstance(error, Unavailable):
            error = self._once_more(envelope)
        if error is None:
            self.queue_consumer.ack_message(message)
        elif isinstance(error, Invalid):
            log.error("event_parked", queue=self.queue.name, event_id=envelope.id, reason=error.fields)
            self.queue_consumer.park_message(message)
        else:
            tries = int((message.headers or {}).get("x-delivery-count", 0)) + 1
            log.error("event_failed", queue=self.queue.name, event_id=envelope.id, error=type(error).__name__, tries=tries)
            eventlet.sleep(min(0.1 * 2**tries, 5.0))
            self.queue_consumer.requeue_message(message)
        return None, None

    def _once_more(self, envelope: Envelope) -> BaseException | None:
        """Repeat until the database is back. Giving the event back instead would use up its deliveries in seconds."""
        pause = 0.2
        while not self.container.draining:
            eventlet.sleep(pause)
            pause = min(pause * 2, 5.0)
            try:
                service = self.container.service_cls()
                service.runtime = self._runtime
                getattr(service, self.method_name)(envelope)
            except Unavailable:
                continue
            except Exception as error:
                return error
            return None
        return Unavailable("this process is stopping")


def broadcasts(event: EventType) -> Callable[[Callable[..., None]], Any]:
    """Give every process of this service each `event`, best effort, for dropping what it caches.

    The method gets the envelope, or None after each (re)connection: then anything may have been missed.
    """
    return _Broadcasts.decorator(event=event)


class _Broadcasts(Entrypoint):
    """The entrypoint behind `@broadcasts`."""

    queue_consumer = EventConsumer()
    pool = "events"

    def __init__(self, *, event: EventType, **kwargs: Any) -> None:
        self.event = event
        self.queue: Queue = None
        super().__init__(**kwargs)

    def setup(self) -> None:
        """Choose a queue of this process alone; it goes some minutes after the process."""
        name = f"cast.{self.container.service_name}.{self.method_name}.{new_id()}"
        self.queue = Queue(name, exchange=Exchange(self.event.exchange, type="topic", durable=True),
                           routing_key=self.event.routing_key, durable=True, queue_arguments={"x-expires": 300_000})
        self.queue_consumer.register_provider(self)

    def stop(self) -> None:
        """Stop consuming."""
        self.queue_consumer.unregister_provider(self)

    def declare(self, _channel: Any) -> None:
        """A new connection: whatever was announced meanwhile is lost."""
        self._spawn(None)

    def handle_message(self, body: Any, message: Message) -> None:
        """Pass it on; a lost one costs a cache's short life, so it is not repeated."""
        self.queue_consumer.ack_message(message)
        try:
            self._spawn(Envelope.from_wire(body))
        except MalformedEnvelope as error:
            log.error("broadcast_dropped", reason=str(error))

    def _spawn(self, envelope: Envelope | None) -> None:
        try:
            self.container.spawn_worker(self, (envelope,), {})
        except ContainerBeingKilled:
            log.info("broadcast_dropped", reason="stopping")


class RuntimeOf(DependencyProvider):
    """Injects the process's `Runtime`."""

    def get_dependency(self, worker_ctx: Any) -> Runtime:
        """Return it."""
        runtime: Runtime = self.container.config[RUNTIME]
        return runtime


class Worker(Protocol):
    """Something that works until it is told to stop."""

    def run(self) -> None:
        """Work; return soon after `stop`."""
        ...

    def stop(self) -> None:
        """Ask `run` to return."""
        ...


class _Workers(DependencyProvider):
    """The chassis' own background work and the service's."""

    def __init__(self) -> None:
        self._running: list[tuple[Worker, Any]] = []

    def start(self) -> None:
        """Start the relay, the pruning, the snapshots, the control queue and what the service adds."""
        runtime: Runtime = self.container.config[RUNTIME]
        service = self.container.service_cls
        snapshots = Snapshots(runtime.db, service.name, service.snapshots)
        workers: list[Worker] = [runtime.relay, snapshots, _Pruning(runtime),
                                 control.Listener(runtime, service.name, snapshots)]
        workers += [make(runtime) for make in service.background]
        self._running = [(worker, self.container.spawn_managed_thread(worker.run, identifier=type(worker).__name__))
                         for worker in workers]

    def stop(self) -> None:
        """Stop them, the relay last, so that it sends what the others announced last."""
        relay, *others = self._running
        for group in (others, [relay]):
            for worker, _ in group:
                worker.stop()
            for _, thread in group:
                thread.wait()

    def get_dependency(self, worker_ctx: Any) -> None:
        """Nothing is injected."""


class _Pruning:
    """Deletes what is past its retention, a batch at a time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stopped = eventlet.event.Event()

    def run(self) -> None:
        """Prune until stopped: at once again while there is much, else every ten minutes."""
        while not self._stopped.ready():
            try:
                busy = prune(self._runtime) >= 1000
            except Unavailable:
                busy = False
            with eventlet.Timeout(0.5 if busy else 600, False):
                self._stopped.wait()

    def stop(self) -> None:
        """End `run`."""
        self._stopped.send(None)


class Service:
    """Base of every service class.

    Attributes:
        name: the room.
        snapshots: the entities that this service owns and can announce again.
        background: makers of the room's own background work.
    """

    name: str
    snapshots: tuple[SnapshotSource, ...] = ()
    background: tuple[Callable[[Runtime], Worker], ...] = ()
    runtime = RuntimeOf()
    workers = _Workers()


__all__ = ["Call", "Heard", "RuntimeOf", "Service", "broadcasts", "exposes", "hears"]
