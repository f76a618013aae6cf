"""Publishing from many greenlets over one connection.

A reader of its own takes confirms, returns and heartbeats as they come, so a dead connection is known at once, not at
the next message, and one slow confirm holds up nobody else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import amqp
import eventlet
from eventlet.event import Event
from eventlet.semaphore import Semaphore
from eventlet.timeout import Timeout
from kombu import Connection

from chassis import broker, telemetry
from chassis.patience import AtMost

log = telemetry.logger(__name__)


SECOND_COPY = "hub-second-copy"
"""Header of a message that was published before, on a connection that broke: the first copy may have arrived."""


class BrokerAway(ConnectionError):
    """The message was not published, or nobody can say whether it was."""


class Unroutable(Exception):
    """No queue takes the message: nobody has ever consumed there."""


class _Link:
    """One open connection with one channel, and the greenlet that reads it."""

    def __init__(self, connection: Connection, *, confirm: bool) -> None:
        self._amqp: amqp.Connection = connection.connection
        self._channel = self._amqp.channel()
        self._confirm = confirm
        broker.RPC_EXCHANGE(self._channel).declare()
        if confirm:
            self._channel.confirm_select()
            self._channel.events["basic_ack"].add(self._on_ack)
            self._channel.events["basic_nack"].add(self._on_nack)
            self._channel.events["basic_return"].add(self._on_return)
        self._writing = Semaphore()
        self._tag = 0
        self._waiting: dict[int, Event] = {}
        self._returned: set[str] = set()
        self._ids: dict[int, str] = {}
        self.error: Exception | None = None

    def publish(self, message: amqp.Message, exchange: str, routing_key: str, *, mandatory: bool) -> None:
        """Write the message, and wait for its confirm if the channel confirms."""
        with self._writing:  # frames of two greenlets must not mix
            if self.error is not None:
                raise BrokerAway("the connection broke") from self.error
            self._tag += 1
            tag, confirmed = self._tag, Event()
            self._waiting[tag], self._ids[tag] = confirmed, message.properties.get("message_id", "")
            try:
                self._channel.basic_publish(message, exchange=exchange, routing_key=routing_key, mandatory=mandatory)
            except BaseException as error:  # a half-written frame spoils all that follow
                self.fail(error if isinstance(error, Exception) else BrokerAway("given up while writing"))
                raise
        try:
            if self._confirm:
                confirmed.wait()
        finally:
            self._waiting.pop(tag, None)
            self._ids.pop(tag, None)

    def read(self, going_on: Callable[[], bool]) -> None:
        """Take what the broker sends until `going_on` says no; then, or at an error, every waiter is told."""
        try:
            while going_on() and self.error is None:
                broker.listen(self._amqp)
                with self._writing:
                    self._amqp.heartbeat_tick()
            self.fail(BrokerAway("the connection was closed"))
        except broker.CONNECTION_ERRORS as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Tell every waiter that the connection has gone."""
        self.error = self.error or error
        for confirmed in self._waiting.values():
            if not confirmed.ready():
                confirmed.send_exception(BrokerAway(f"the connection broke: {type(error).__name__}"))

    def _settle(self, tag: int, multiple: bool, error: Exception | None) -> None:
        for each in [t for t in self._waiting if t <= tag] if multiple else [tag]:
            confirmed, id = self._waiting.pop(each, None), self._ids.pop(each, "")
            if confirmed is None or confirmed.ready():
                continue
            if id in self._returned:
                confirmed.send_exception(Unroutable(id))
            elif error is not None:
                confirmed.send_exception(error)
            else:
                confirmed.send(None)
            self._returned.discard(id)

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._settle(tag, multiple, None)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._settle(tag, multiple, BrokerAway("the broker could not take the message"))

    def _on_return(self, _error: Exception, _exchange: str, _routing_key: str, message: amqp.Message) -> None:
        self._returned.add(message.properties.get("message_id", ""))


class Publisher:
    """Publishes; connects at the first message, if not before, and again whenever the connection was lost.

    Args:
        amqp_uri: where the broker is.
        confirm: whether `publish` waits until the broker has taken the message.
    """

    def __init__(self, amqp_uri: str, *, confirm: bool) -> None:
        self._amqp_uri = amqp_uri
        self._confirm = confirm
        self._link: _Link | None = None
        self._connecting = Semaphore()
        self._closed = False

    def prepare(self) -> bool:
        """Connect ahead of need: a new connection takes a busy machine longer than a caller may be kept waiting.

        Returns:
            Whether it is connected. If not, the next message tries again.
        """
        try:
            self._open()
        except broker.CONNECTION_ERRORS:
            return False
        return True

    def publish(self, body: bytes, *, exchange: str, routing_key: str, within_s: float, mandatory: bool = False,
                **properties: Any) -> None:
        """Publish JSON.

        Args:
            body: UTF-8 text.
            exchange, routing_key: where to.
            within_s: seconds after which the broker counts as away.
            mandatory: refuse a message that no queue takes; needs a `message_id` and confirms.
            properties: of the AMQP message.

        Raises:
            Unroutable: no queue takes it.
            BrokerAway: not confirmed in time. The message may have been taken.
        """
        properties = {"content_type": "application/json", "content_encoding": "utf-8", **properties}
        limit = Timeout(within_s)
        try:
            with limit:
                try:
                    self._open().publish(amqp.Message(body, **properties), exchange, routing_key, mandatory=mandatory)
                except broker.CONNECTION_ERRORS:
                    # The connection broke under this message: ids and keys make a second copy harmless, and a
                    # receiver that keeps no key can tell it by its mark.
                    properties["headers"] = {**properties.get("headers", {}), SECOND_COPY: True}
                    self._open().publish(amqp.Message(body, **properties), exchange, routing_key, mandatory=mandatory)
        except Timeout as late:
            if late is not limit:
                raise
            raise BrokerAway(f"no confirm within {within_s:g} s") from late
        except broker.CONNECTION_ERRORS as error:
            raise BrokerAway(f"the broker is away: {type(error).__name__}") from error

    def close(self) -> None:
        """Close the connection within a second."""
        self._closed = True

    def _open(self) -> _Link:
        with self._connecting:
            if self._link is None or self._link.error is not None:
                opened: Event = Event()
                eventlet.spawn_n(self._hold, opened)
                opened.wait()
            assert self._link is not None  # noqa: S101 (`_hold` set it, or `wait` raised)
            return self._link

    def _hold(self, opened: Event) -> None:
        """Open a connection, hand it out and read it until it breaks."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(broker.connected(self._amqp_uri))
                with Timeout(broker.CONNECT_TIMEOUT_S, TimeoutError("the broker does not open a channel")):
                    link = self._link = _Link(connection, confirm=self._confirm)
            except Exception as error:
                opened.send_exception(error)
                return
            opened.send(None)
            link.read(lambda: not self._closed)


class Lookout:
    """Tells whether a queue is served; an answer holds for `KEEP_S` seconds."""

    KEEP_S = 0.5

    def __init__(self, amqp_uri: str) -> None:
        self._amqp_uri = amqp_uri
        self._asking = Semaphore()
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._answers: dict[str, tuple[float, bool]] = {}

    def prepare(self) -> None:
        """Connect ahead of need: a new connection takes a busy machine longer than a caller may be kept waiting."""
        with self._asking, suppress(*broker.CONNECTION_ERRORS):
            self._open()

    def is_served(self, queue: str, within_s: float) -> bool:
        """Return whether somebody works on `queue`; False also when the broker does not answer in time."""
        with AtMost(within_s), self._asking:
            asked_at, answer = self._answers.get(queue, (float("-inf"), False))
            if time.monotonic() - asked_at < self.KEEP_S:
                return answer
            answer = self._ask(queue)
            self._answers[queue] = (time.monotonic(), answer)
            return answer
        return False

    def close(self) -> None:
        """Close the connection."""
        self._stack.close()
        self._connection = None

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = self._stack.enter_context(broker.connected(self._amqp_uri, heartbeat=0))
        return self._connection

    def _ask(self, queue: str) -> bool:
        kept = self._connection is not None
        try:
            return broker.is_served(self._open(), queue)
        except broker.CONNECTION_ERRORS as error:
            self._drop()
            if kept:  # it may have died while nobody looked
                return self._ask(queue)
            log.warning("broker_away", error=type(error).__name__)
            return False
        except BaseException:  # time is up, and an answer that comes late would be taken for the next one's
            self._drop()
            raise

    def _drop(self) -> None:
        self._connection = None
        # Elsewhere: closing waits up to two seconds for a stopped broker, and the caller has none left.
        eventlet.spawn_n(self._stack.pop_all().close)
