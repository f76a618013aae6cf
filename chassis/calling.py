"""Calling an operation of a service: what the gateway does, and nobody else. Services tell each other by events."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import eventlet
from eventlet.event import Event
from kombu import Connection
from kombu.message import Message
from nameko.extensions import DependencyProvider
from nameko.rpc import ReplyListener

from chassis import answering, broker, metrics, telemetry, tracing
from chassis.container import RUNTIME, DrainingConsumer
from chassis.context import SigningKey, Subject, mint
from chassis.failpoints import failpoint
from chassis.patience import AtMost
from chassis.publishing import BrokerAway, Lookout, Publisher, Unroutable
from contracts.errors import DeadlineExceeded, HubError, Unavailable
from contracts.in_clear import in_clear
from contracts.operation import Operation
from contracts.schema import Record, pack, unpack

log = telemetry.logger(__name__)

SIGNING_KEY = "signing_key"
"""The key of `Runtime.extra` under which the gateway keeps its `SigningKey`."""

ACCEPT_WITHIN_S = 1.8
"""Seconds in which the broker must take a request."""

LOOK_EVERY_S, LOOK_WITHIN_S = 0.6, 1.2
"""How often a waiting call makes sure that somebody still consumes its queue, and how long that may take.

Together less than the 2 s in which a caller must hear that the broker is away. Most of it is for the answer: a broker
on a busy machine that takes a second is slow, not away."""


@dataclass(frozen=True)
class Answer:
    """What a service answered.

    Attributes:
        schema: of the response.
        packed: the response as it travelled.
        replayed: whether this is the kept answer to an earlier request with the same key.
    """

    schema: type[Record]
    packed: Mapping[str, Any]
    replayed: bool = False

    @property
    def value(self) -> dict[str, Any]:
        """The response as Python values."""
        return unpack(self.schema, self.packed)

    @property
    def document(self) -> dict[str, Any]:
        """The response JSON-ready and in clear: for the HTTP side of the gateway, never for a message."""
        return in_clear(self.schema, self.packed)


class _Replies(ReplyListener):
    """Collects answers on this process's reply queue."""

    queue_consumer = DrainingConsumer()
    prompt = True

    def setup(self) -> None:
        """Declare the exchange that stock nameko would have made under another name."""
        super().setup()
        self.queue.exchange = broker.RPC_EXCHANGE

    def declare(self, connection: Connection) -> None:
        """Nothing but the queue itself is needed."""

    def handle_message(self, body: dict[str, Any], message: Message) -> None:
        """Wake the caller first; the broker can wait for its word."""
        waiter = self._reply_events.pop(message.properties.get("correlation_id"), None)
        if waiter is not None:
            waiter.send(body)
        eventlet.spawn_n(self.queue_consumer.ack_message, message)

    def park(self, message: Message, reason: str) -> None:
        """Drop it: its caller will give up."""
        log.error("answer_unreadable", reason=reason)
        self.queue_consumer.ack_message(message)

    def forget(self, correlation_id: str) -> None:
        """Drop a waiter whose caller has given up."""
        self._reply_events.pop(correlation_id, None)


class Caller(DependencyProvider):
    """Calls operations. Safe to use from many greenlets at once."""

    replies = _Replies()

    def setup(self) -> None:
        """Choose the broker."""
        amqp_uri = self.container.config[RUNTIME].settings.amqp_uri
        self._publisher = Publisher(amqp_uri, confirm=True)
        self._lookout = Lookout(amqp_uri)

    def start(self) -> None:
        """Open what a call will need, and what one that waits long will."""
        eventlet.spawn_n(self.prepare)
        eventlet.spawn_n(self._lookout.prepare)

    def prepare(self) -> bool:
        """Connect, unless it is connected; return whether it is now."""
        return self._publisher.prepare()

    def stop(self) -> None:
        """Close the connections."""
        self._publisher.close()
        self._lookout.close()

    def get_dependency(self, worker_ctx: Any) -> Caller:
        """Inject the caller itself: it holds no state of a worker."""
        return self

    def call(self, operation: Operation, request: dict[str, Any], *, subject: Subject, key: str | None = None,
             request_id: str, traceparent: str = "", timeout_s: float | None = None) -> Answer:
        """Ask the service that owns `operation` and wait for its answer.

        Args:
            operation: what to do.
            request: values as `operation.request` loads them.
            subject: on whose behalf; signed into the token of this one call.
            key: the client's idempotency key; without one the request id serves, so that a redelivered request meets
                its own row.
            request_id, traceparent: for the logs of every service; by default the trace of the call at hand.
            timeout_s: how long to wait; the operation's own time by default.

        Raises:
            Unavailable: the broker is away, or nobody consumes the service's queue; known within 2 s.
            DeadlineExceeded: no answer in time. The change may have been made.
            HubError: whatever the service answered.
        """
        began, outcome = time.monotonic(), "broken"
        try:
            with tracing.span(operation.routing_key, "client", traceparent or telemetry.current("traceparent"),
                              rpc__system="nameko") as span:
                answer = self._call(operation, request, subject, key or request_id, request_id, span.traceparent,
                                    timeout_s or operation.timeout_s)
            outcome = metrics.OK
            return answer
        except HubError as error:
            outcome = error.code
            raise
        finally:
            metrics.RPC_CLIENT.labels(operation.routing_key, outcome).observe(time.monotonic() - began)

    def _call(self, operation: Operation, request: dict[str, Any], subject: Subject, key: str, request_id: str,
              traceparent: str, limit: float) -> Answer:
        runtime = self.container.config[RUNTIME]
        signing: SigningKey = runtime.extra[SIGNING_KEY]
        headers = {
            answering.TOKEN: mint(subject, operation.service, signing, expires_in_s=limit, jti=request_id),
            answering.REQUEST_ID: request_id, answering.KEY: key, answering.TIMEOUT_MS: int(limit * 1000),
            answering.TRACEPARENT: traceparent,
        }
        body = json.dumps({"request": pack(operation.request, request)}).encode()
        correlation_id = uuid.uuid4().hex
        waiter = self.replies.get_reply_event(correlation_id)
        try:
            self._publish(operation, body, headers, correlation_id, limit)
            reply = self._wait(operation, waiter, limit)
        finally:
            self.replies.forget(correlation_id)
        if "error" in reply:
            raise HubError.from_wire(reply["error"])
        failpoint(f"{operation.name}.answered")
        return Answer(operation.response, reply["result"], bool(reply.get("replayed")))

    def _publish(self, operation: Operation, body: bytes, headers: dict[str, Any], correlation_id: str,
                 limit: float) -> None:
        try:
            self._publisher.publish(
                body, exchange=broker.RPC_EXCHANGE.name, routing_key=operation.routing_key, mandatory=True,
                within_s=min(ACCEPT_WITHIN_S, limit), delivery_mode=1, expiration=str(int(limit * 1000)),
                application_headers=headers, reply_to=self.replies.routing_key, correlation_id=correlation_id,
                message_id=correlation_id)
        except Unroutable as error:
            raise Unavailable(f"The {operation.service} service is not there", retry_after_s=2) from error
        except BrokerAway as error:
            raise Unavailable("The message broker is away", retry_after_s=2) from error

    def _wait(self, operation: Operation, waiter: Event, limit: float) -> dict[str, Any]:
        deadline = time.monotonic() + limit
        queue = broker.rpc_queue(operation.service, self.container.config[RUNTIME].settings.rpc_queue_type).name
        while (left := deadline - time.monotonic()) > 0:
            with AtMost(min(LOOK_EVERY_S, left)):
                reply: dict[str, Any] = waiter.wait()
                return reply
            if left > LOOK_EVERY_S and not self._lookout.is_served(queue, LOOK_WITHIN_S) and not waiter.ready():
                raise Unavailable(f"The {operation.service} service is not there", retry_after_s=2)
        raise DeadlineExceeded(f"The {operation.service} service did not answer within {limit:g} s", retry_after_s=1)
