"""nameko's container and a queue consumer that drain: finish what was begun, acknowledge it, then close.

The container leans on private names of nameko 2.14.1 (`_worker_pool`, `_run_worker`, `_worker_threads`), which is why
nameko is pinned exactly; the consumer replaces nameko's. Each behaviour has a test that first shows the stock one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import eventlet
from amqp.exceptions import PreconditionFailed
from eventlet.event import Event
from eventlet.greenpool import GreenPool
from eventlet.timeout import Timeout
from kombu import Connection, Consumer, Queue
from kombu.exceptions import MessageStateError
from kombu.message import Message
from nameko.containers import ServiceContainer, WorkerContext
from nameko.exceptions import ContainerBeingKilled
from nameko.extensions import SharedExtension

from chassis import broker, telemetry
from chassis.database import is_up
from chassis.parking import Aside, pause_s
from chassis.patience import AtMost
from chassis.publishing import Unroutable
from chassis.runtime import Runtime

log = telemetry.logger(__name__)

_NOT_KEPT: tuple[type[Exception], ...] = (Unroutable, *broker.CONNECTION_ERRORS)

RUNTIME = "HUB_RUNTIME"
"""The key of nameko's configuration under which the `Runtime` is found."""

DRAIN_S = 25.0
"""Seconds that running work is given at a stop; what is not done by then is cut off and given out again."""


class _Pools:
    """A container's pools of workers. nameko knows one, and asks only for `waitall`."""

    def __init__(self, **sizes: int) -> None:
        self._pools = {name: GreenPool(size) for name, size in sizes.items()}

    def __getitem__(self, name: str) -> GreenPool:
        return self._pools[name]

    def waitall(self) -> None:
        """Wait for every worker, at most `DRAIN_S` seconds; then end those that still run."""
        with AtMost(DRAIN_S):
            for pool in self._pools.values():
                pool.waitall()
            return
        for pool in self._pools.values():
            for worker in list(pool.coroutines_running):
                worker.kill()


class HubContainer(ServiceContainer):
    """A container with one pool for requests and one for events, so that slow events never delay a request."""

    def __init__(self, service_cls: type, config: dict[str, Any]) -> None:
        super().__init__(service_cls, config)
        self.runtime: Runtime = config[RUNTIME]
        settings = self.runtime.settings
        self._worker_pool = _Pools(requests=settings.max_workers, events=settings.event_workers)

    @property
    def draining(self) -> bool:
        """Whether this process has been asked to stop."""
        return self.runtime.stopping.is_set()

    def spawn_worker(self, entrypoint: Any, args: Any, kwargs: Any, context_data: Any = None,
                     handle_result: Callable[..., Any] | None = None) -> Any:
        """Run a worker in the pool that its entrypoint names; waits while that pool is full."""
        if self._being_killed:
            raise ContainerBeingKilled
        worker = WorkerContext(self, self.service_cls(), entrypoint, args, kwargs, data=context_data)
        pool = self._worker_pool[getattr(entrypoint, "pool", "requests")]
        thread = pool.spawn(self._run_worker, worker, handle_result)
        thread.link(self._handle_worker_thread_exited, worker)
        self._worker_threads[worker] = thread
        return worker

    def stop(self) -> None:
        """Drain: cancel the consumers, finish the workers, acknowledge, close."""
        self.runtime.health.report("drain", "this process is stopping")
        self.runtime.stopping.set()
        super().stop()


class Provider(Protocol):
    """Whoever takes the messages of one queue."""

    queue: Queue
    prompt: bool
    """Whether `handle_message` never waits, so that it needs no greenlet of its own."""

    def declare(self, connection: Connection) -> None:
        """Declare what the queue needs; called at every (re)connection, before it is consumed."""
        ...

    def handle_message(self, body: Any, message: Message) -> None:
        """Take a message, and settle it in the end."""
        ...

    def park(self, message: Message, reason: str) -> None:
        """Put aside a message that nobody can read, and settle it."""
        ...


class DrainingConsumer(SharedExtension):
    """Consumes queues on one connection, which stays open until the last message in hand is settled.

    All providers of a container that name this class share one instance. The connection is made again for as long as
    it takes; a queue that stands with other arguments makes the process unready until somebody has mended it.
    """

    name = "requests"

    def __init__(self) -> None:
        self._providers: list[Any] = []
        self._leaving: set[Any] = set()
        self._consumers: dict[Any, Consumer] = {}
        self._in_hand: set[Message] = set()
        self._link: Any = None
        self._first_time = Event()
        self._stopping = False
        self._thread: Any = None
        super().__init__()

    @property
    def _runtime(self) -> Runtime:
        runtime: Runtime = self.container.config[RUNTIME]
        return runtime

    @property
    def prefetch_count(self) -> int:
        """Messages in hand per queue: as many as can be worked on."""
        return self._runtime.settings.max_workers

    # -- life ---------------------------------------------------------------------------------------------------------

    def register_provider(self, provider: Any) -> None:
        """Consume the provider's queue from the start on."""
        self._providers.append(provider)
        self._runtime.health.report(self.name, "not consuming yet")

    def unregister_provider(self, provider: Any) -> None:
        """Consume the provider's queue no more; what is in hand is still finished and settled."""
        self._leaving.add(provider)
        self._look_up()
        while provider in self._consumers:
            eventlet.sleep(0.02)

    def start(self) -> None:
        """Start to consume; returns when that has begun, or been given up."""
        if self._thread is None and self._providers:
            self._thread = self.container.spawn_managed_thread(self._run, identifier=f"consumer of {self.name}")
            self._first_time.wait()

    def stop(self) -> None:
        """Settle what is in hand, then close."""
        self._stopping = True
        self._look_up()
        if self._thread is not None:
            with AtMost(5.0):
                self._thread.wait()
                return
            self._thread.kill()

    def kill(self) -> None:
        """Close at once; the broker gives out again what was in hand."""
        if self._thread is not None:
            self._thread.kill()

    def _look_up(self) -> None:
        """Let the reader look what it is asked to do now."""
        if self._link is not None:
            broker.wake(self._link)

    def _done(self) -> bool:
        return (self._stopping or self._leaving.issuperset(self._providers)) and not self._in_hand

    def _run(self) -> None:
        pause = 0.2
        try:
            while not self._done():
                try:
                    self._before_connecting()
                    with broker.connected(self._runtime.settings.amqp_uri) as connection:
                        self._consume(connection)
                    pause = 0.2
                except broker.CONNECTION_ERRORS as error:
                    pause = 0.2 if self._consumers else min(pause * 1.5, 2.0)
                    self._lost(error, pause)
                finally:
                    self._link = None
                    self._consumers.clear()
                    self._in_hand.clear()  # the broker gives them out again
                if not self._done():
                    eventlet.sleep(pause)
        except Exception as error:
            # Not raised: nameko would end the container from within this greenlet, whose own end that is waiting for.
            log.error("consumer_broke", consumer=self.name, error=type(error).__name__, **telemetry.where(error))
            eventlet.spawn_n(self.container.kill, sys.exc_info())
        finally:
            if not self._first_time.ready():
                self._first_time.send(None)

    def _before_connecting(self) -> None:
        """Wait here for whatever must be there first."""

    def _lost(self, error: Exception, pause: float) -> None:
        if isinstance(error, PreconditionFailed) and "inequivalent arg" in error.reply_text:
            reason = f"{error.reply_text} - drain and delete that queue, or restore what shaped it"
            log.error("queue_arguments_differ", reason=error.reply_text)
        else:
            reason = "the broker is away"
            log.warning("broker_away", consumer=self.name, error=type(error).__name__, retry_in_s=round(pause, 1))
        self._runtime.health.report(self.name, reason)

    # -- consuming ----------------------------------------------------------------------------------------------------

    def _consume(self, connection: Connection) -> None:
        link = connection.connection
        with Timeout(10.0, TimeoutError("the broker does not answer a declaration")):
            for provider in self._providers:
                provider.declare(connection)
            channel = connection.default_channel
            channel.basic_qos(0, self.prefetch_count, False)
            for provider in self._providers:
                if provider not in self._leaving:
                    self._consumers[provider] = self._consumer(channel, provider)
                    self._consumers[provider].consume()
        self._runtime.health.report(self.name, None)
        if not self._first_time.ready():
            self._first_time.send(None)
        self._link, tick_at = link, 0.0
        while not self._done() and not self._interrupted():
            self._cancel_the_leaving()
            broker.listen(link)
            # Also while messages pour in: only what we send keeps the broker from giving us up.
            if time.monotonic() >= tick_at:
                link.heartbeat_tick()
                tick_at = time.monotonic() + broker.LISTEN_S / 2

    def _interrupted(self) -> bool:
        return False

    def _consumer(self, channel: Any, provider: Any) -> Consumer:
        return Consumer(channel, [provider.queue], accept=broker.ACCEPT, callbacks=[partial(self._take, provider)],
                        on_decode_error=partial(self._unreadable, provider))

    def _cancel_the_leaving(self) -> None:
        for provider in [p for p in self._consumers if p in self._leaving]:
            with Timeout(2.0, TimeoutError("the broker does not answer a cancel")):
                self._consumers[provider].cancel()
            del self._consumers[provider]

    def _take(self, provider: Provider, body: Any, message: Message) -> None:
        self._in_hand.add(message)
        if provider.prompt:
            self._hand_over(provider, body, message)
            return
        self.container.spawn_managed_thread(partial(self._hand_over, provider, body, message), identifier="hand over")

    def _unreadable(self, provider: Provider, message: Message, error: Exception) -> None:
        """kombu's default acknowledges what is not JSON, and it is gone."""
        self._in_hand.add(message)
        reason = f"its body cannot be read: {type(error).__name__}"
        self.container.spawn_managed_thread(partial(self._set_aside, provider, message, reason), identifier="park")

    def _hand_over(self, provider: Provider, body: Any, message: Message) -> None:
        try:
            provider.handle_message(body, message)
        except ContainerBeingKilled:
            self.requeue_message(message)
        except Exception as error:
            # An error here would end the process, and the next one that gets the message, and the next.
            log.error("message_unhandled", error=type(error).__name__, **telemetry.where(error))
            self._set_aside(provider, message, f"{type(error).__name__} while it was read")

    def _set_aside(self, provider: Provider, message: Message, reason: str) -> None:
        try:
            provider.park(message, reason)
        except Exception as error:
            log.error("message_not_parked", error=type(error).__name__, reason=reason)
            self._runtime.stopping.wait(1.0)
            self.requeue_message(message)

    # -- settling -----------------------------------------------------------------------------------------------------

    def ack_message(self, message: Message) -> None:
        """Acknowledge; if the connection has gone, the broker gives it out again and its inbox row meets it."""
        self._settle(message.ack, message)

    def requeue_message(self, message: Message) -> None:
        """Give the message back."""
        self._settle(message.requeue, message)

    def holds(self, message: Message) -> bool:
        """Whether the message is still ours to settle: its connection stands."""
        return message in self._in_hand

    def _settle(self, verb: Callable[[], None], message: Message) -> None:
        if message not in self._in_hand:
            return
        try:
            verb()
        except (*broker.CONNECTION_ERRORS, MessageStateError) as error:
            # Stock nameko lets an OSError here kill the container (seen after a CPU block beyond the heartbeat).
            log.warning("ack_lost", error=type(error).__name__)
        finally:
            self._in_hand.discard(message)
            if self._done():
                self._look_up()


class EventConsumer(DrainingConsumer):
    """The consumer of event queues: a connection and a prefetch of its own."""

    name = "events"

    def __init__(self) -> None:
        self._database_gone = False
        self._aside: Aside | None = None
        super().__init__()

    @property
    def prefetch_count(self) -> int:
        """Events in hand per queue: enough that no worker waits for the next one."""
        return 4 * self._runtime.settings.event_workers

    @property
    def aside(self) -> Aside:
        """Where events are moved that cannot be handled now."""
        if self._aside is None:
            self._aside = Aside(self._runtime.settings.amqp_uri)
        return self._aside

    def stop(self) -> None:
        """Settle what is in hand, then close."""
        super().stop()
        if self._aside is not None:
            self._aside.close()

    def postpone_message(self, message: Message, queue: str, tries: int) -> None:
        """Let the event wait apart after its `tries`-th failure, longer each time, and come back by itself."""
        if not self.holds(message):
            return  # the connection has gone, and the broker gives it out again
        pause = pause_s(self._runtime.settings.event_pause_s, tries)
        try:
            self.aside.wait(message, queue, tries=tries, pause=pause)
        except _NOT_KEPT as error:
            log.warning("event_held", queue=queue, error=type(error).__name__)
            self._runtime.stopping.wait(min(pause, 5.0))
            self.requeue_message(message)
        else:
            self.ack_message(message)

    def park_message(self, message: Message, queue: str, reason: Any) -> None:
        """Move the event to its parking queue, with the reason."""
        if not self.holds(message):
            return
        try:
            self.aside.park(message, queue, because=reason)
        except _NOT_KEPT as error:
            log.warning("event_parked_without_reason", queue=queue, error=type(error).__name__)
            self._settle(message.reject, message)  # the broker moves it
        else:
            self.ack_message(message)

    def wait_for_database(self) -> None:
        """Give back all events in hand and take none until the database answers.

        RabbitMQ closes the channel of an event that is held for half an hour, and counts that as a failed delivery; an
        outage over a weekend must count as one.
        """
        self._database_gone = True
        self._look_up()

    def _interrupted(self) -> bool:
        return self._database_gone

    def _before_connecting(self) -> None:
        while self._database_gone and not self._done():
            self._runtime.health.report(self.name, "the database is away")
            if is_up(self._runtime.db):
                self._database_gone = False
            else:
                eventlet.sleep(1.0)
