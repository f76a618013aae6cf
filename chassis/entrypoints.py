"""What a service class is made of: operations it exposes, events it hears, work it does in the background.

    class SalesService(Service):
        name = "sales"

        @exposes(contract.CONFIRM_ORDER)
        def confirm_order(self, call: Call) -> Order: ...

        @hears(customers.CUSTOMER_UPDATED)
        def customer_updated(self, event: Heard) -> None: ...
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Protocol

import eventlet
from kombu import Connection, Exchange, Queue
from kombu.message import Message
from nameko.extensions import DependencyProvider, Entrypoint
from sqlalchemy.orm import Session

from chassis import broker, control, inbox, metrics, parking, telemetry, tracing
from chassis.audit import trail
from chassis.audit.chain import Keys
from chassis.audit.sealer import Sealer
from chassis.container import RUNTIME, EventConsumer
from chassis.database import new_id
from chassis.failpoints import failpoint
from chassis.patience import AtMost
from chassis.rpc import Call, exposes
from chassis.runtime import Runtime, prune
from chassis.snapshot import SNAPSHOTS, Snapshots, SnapshotSource
from contracts.envelope import Envelope, MalformedEnvelope
from contracts.errors import HubError, Invalid, Unavailable
from contracts.event import EventType
from contracts.schema import unpack

log = telemetry.logger(__name__)

STOP_S = 5.0
"""Seconds that each background part is given to end."""

HOLD_S = 60.0
"""Seconds that an event is held while the database is away; after that all are given back until it answers."""


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

    While the database is away the event waits in the worker. After any other error it waits apart, minutes in all, and
    other events pass it meanwhile; after `delivery_limit` failures it is parked in `<queue>.dead`.
    """

    def decorate(method: Callable[[Any, Heard], None]) -> Any:
        @wraps(method)
        def door(service: Any, envelope: Envelope) -> None:
            runtime: Runtime = service.runtime
            if runtime.stopping.is_set():
                raise _Stopping
            with _watched(event, method.__name__, envelope):
                data = unpack(event.data, envelope.data)
                with runtime.db.write() as session:
                    if inbox.first_time(session, envelope.id, method.__name__):
                        method(service, Heard(session, envelope, data, runtime))
                    failpoint("inbox.before_commit")
                failpoint("inbox.after_commit")

        return _Hears.decorator(event=event)(door)

    return decorate


@contextmanager
def _watched(event: EventType, handler: str, envelope: Envelope) -> Iterator[None]:
    """Log, trace and time the handling of one event."""
    began, outcome = time.monotonic(), metrics.OK
    with tracing.span(f"process {event.type}", "consumer", envelope.traceparent,
                      messaging__system="rabbitmq", messaging__message__id=envelope.id, hub__handler=handler) as span:
        token = telemetry.correlation.set({"request_id": envelope.correlationid, "traceparent": span.traceparent})
        try:
            yield
        except BaseException as error:
            outcome = error.code if isinstance(error, HubError) else "failed"
            raise
        finally:
            telemetry.correlation.reset(token)
            metrics.EVENTS.labels(event.type, handler, outcome).observe(time.monotonic() - began)


class _Stopping(Exception):
    """This process takes no new event; another one will."""


class _Released(Exception):
    """The connection that this event came by is gone or going: the broker gives it out again."""


class _Hears(Entrypoint):
    """The entrypoint behind `@hears`."""

    queue_consumer = EventConsumer()
    prompt = False
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
        self.queue = broker.event_queue(self.event, self.container.service_name, self.method_name)
        self.queue_consumer.register_provider(self)

    def stop(self) -> None:
        """Stop consuming; what is in hand is finished first."""
        self.queue_consumer.unregister_provider(self)

    def declare(self, connection: Connection) -> None:
        """Declare queue and parking; a queue that had to be made has missed events, so ask for them again.

        The parking queue comes last and is the mark that the asking is done: ended in between, the next start asks.
        """
        parking = broker.parking_queue(self.queue)
        missed = not (broker.exists(connection, self.queue.name) and broker.exists(connection, parking.name))
        self.queue(connection.default_channel).declare()
        if missed:
            control.ask_resend(connection, self.event, self.container.service_name)
        parking(connection.default_channel).declare()

    def handle_message(self, body: Any, message: Message) -> None:
        """Read the envelope and give it to a worker; what is no event of ours is parked at once."""
        try:
            envelope = Envelope.from_wire(body)
        except MalformedEnvelope as error:
            self.park(message, str(error))
            return
        self.container.spawn_worker(self, (envelope,), {}, handle_result=partial(self.settle, envelope, message))

    def park(self, message: Message, reason: Any) -> None:
        """Move the event to `<queue>.dead`, where it waits for a person."""
        log.error("event_parked", queue=self.queue.name, event_id=message.properties.get("message_id"), reason=reason)
        self.queue_consumer.park_message(message, self.queue.name, reason)

    def settle(self, envelope: Envelope, message: Message, worker: Any, _result: Any, exc_info: Any) -> tuple[Any, Any]:
        """Acknowledge, wait out an absent database, park what can never work, give back the rest."""
        error = exc_info[1] if exc_info else None
        if isinstance(error, Unavailable):
            error = self._once_more(envelope, message, worker.service)
        if error is None:
            self.queue_consumer.ack_message(message)
        elif isinstance(error, _Stopping):
            self.queue_consumer.requeue_message(message)
        elif isinstance(error, _Released):
            pass
        elif isinstance(error, Invalid):
            self.park(message, error.fields)
        else:
            self._failed(envelope, message, error)
        return None, None

    def _failed(self, envelope: Envelope, message: Message, error: BaseException) -> None:
        tries = parking.tries_of(message) + 1
        log.error("event_failed", queue=self.queue.name, event_id=envelope.id, error=type(error).__name__, tries=tries,
                  **telemetry.where(error))
        if tries >= self._runtime.settings.delivery_limit:
            self.park(message, f"failed {tries} times, at last with {type(error).__name__}")
        else:
            # Not in the worker, which others need.
            self.container.spawn_managed_thread(
                partial(self.queue_consumer.postpone_message, message, self.queue.name, tries), identifier="postpone")

    def _once_more(self, envelope: Envelope, message: Message, service: Any) -> BaseException | None:
        """Repeat until the database is back. Giving the event back instead would use up its deliveries in seconds."""
        pause, give_up_at = 0.2, time.monotonic() + HOLD_S
        while not self._runtime.stopping.wait(pause):
            if not self.queue_consumer.holds(message):
                return _Released()
            if time.monotonic() > give_up_at:
                self.queue_consumer.wait_for_database()
                return _Released()
            pause = min(pause * 2, 2.0)
            try:
                getattr(service, self.method_name)(envelope)
            except Unavailable:
                continue
            except Exception as error:
                return error
            return None
        return _Stopping()


def broadcasts(event: EventType) -> Callable[[Callable[..., None]], Any]:
    """Give every process of this service each `event`, best effort, for dropping what it caches.

    The method gets the envelope, or None after each (re)connection: then anything may have been missed.
    """
    decorate: Callable[[Callable[..., None]], Any] = _Broadcasts.decorator(event=event)
    return decorate


class _Broadcasts(Entrypoint):
    """The entrypoint behind `@broadcasts`."""

    queue_consumer = EventConsumer()
    prompt = False
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

    def declare(self, connection: Connection) -> None:
        """A new connection: whatever was announced before the queue was bound is lost."""
        self.queue(connection.default_channel).declare()
        self.container.spawn_managed_thread(lambda: self.container.spawn_worker(self, (None,), {}), identifier="flush")

    def handle_message(self, body: Any, message: Message) -> None:
        """Pass it on; a lost one costs a cache's short life, so it is not repeated."""
        try:
            envelope = Envelope.from_wire(body)
        except MalformedEnvelope as error:
            self.park(message, str(error))
            return
        self.queue_consumer.ack_message(message)
        self.container.spawn_worker(self, (envelope,), {})

    def park(self, message: Message, reason: str) -> None:
        """Drop it: nothing would be gained by keeping it."""
        log.error("broadcast_dropped", reason=reason)
        self.queue_consumer.ack_message(message)


def queues_of(service_cls: type[Service]) -> list[str]:
    """Return the names of the queues that a service consumes and that have a parking queue."""
    heard = [broker.event_queue(entrypoint.event, service_cls.name, method).name
             for method in dir(service_cls)
             for entrypoint in getattr(getattr(service_cls, method), "nameko_entrypoints", ())
             if isinstance(entrypoint, _Hears)]
    return [*heard, *(broker.rpc_queue(service_cls.name, kind).name for kind in ("classic", "quorum"))]


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
        """Start the relay, the pruning, the sealer, the snapshots, the control queue and what the service adds."""
        runtime: Runtime = self.container.config[RUNTIME]
        service = self.container.service_cls
        snapshots = Snapshots(runtime.db, service.name, service.snapshots)
        sealer = Sealer(runtime.db, Keys(runtime.master, service.name), service.name, runtime.settings.audit_dir)
        runtime.db.info |= {trail.SEALER: sealer, SNAPSHOTS: snapshots}
        workers: list[Worker] = [runtime.relay, snapshots, _Pruning(runtime), sealer,
                                 control.Listener(runtime, service.name, snapshots)]
        workers += [make(runtime) for make in service.background]
        self._running = [(worker, self.container.spawn_managed_thread(partial(self._keep_running, worker),
                                                                      identifier=type(worker).__name__))
                         for worker in workers]

    def _keep_running(self, worker: Worker) -> None:
        """Run it, and again after an error nobody foresaw: one broken part must not end the process."""
        runtime: Runtime = self.container.config[RUNTIME]
        pause = 1.0
        while not runtime.stopping.is_set():
            try:
                worker.run()
                return
            except Exception as error:
                log.error("background_failed", worker=type(worker).__name__, error=type(error).__name__,
                          retry_in_s=pause, **telemetry.where(error))
            runtime.stopping.wait(pause)
            pause = min(pause * 2, 30.0)

    def stop(self) -> None:
        """Stop them, the relay last, so that it sends what the others announced last."""
        for group in (self._running[1:], self._running[:1]):
            for worker, _ in group:
                worker.stop()
            for _, thread in group:
                with AtMost(STOP_S):
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
            with AtMost(0.5 if busy else 600):
                self._stopped.wait()

    def stop(self) -> None:
        """End `run`."""
        if not self._stopped.ready():
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


__all__ = ["Call", "Heard", "RuntimeOf", "Service", "broadcasts", "exposes", "hears", "queues_of"]
