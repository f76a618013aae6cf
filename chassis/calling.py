"""Calling an operation of a service: what the gateway does, and nobody else. Services tell each other by events."""

from __future__ import annotations

import socket
import time
import uuid
from dataclasses import dataclass
from typing import Any

from amqp.exceptions import ChannelError
from eventlet.event import Event
from eventlet.timeout import Timeout
from kombu.exceptions import KombuError
from kombu.pools import connections, producers
from nameko.extensions import DependencyProvider
from nameko.rpc import ReplyListener

from chassis import broker, rpc, telemetry
from chassis.container import RUNTIME, DrainingConsumer
from chassis.context import SigningKey, Subject, mint
from contracts.errors import DeadlineExceeded, HubError, Unavailable
from contracts.operation import Operation
from contracts.schema import pack, unpack

log = telemetry.logger(__name__)

SIGNING_KEY = "signing_key"
"""The key of `Runtime.extra` under which the gateway keeps its `SigningKey`."""

ASK_FOR_CONSUMERS_AFTER_S = 1.0


@dataclass(frozen=True)
class Answer:
    """What a service answered.

    Attributes:
        value: the unpacked response.
        replayed: whether this is the kept answer to an earlier request with the same key.
    """

    value: dict[str, Any]
    replayed: bool = False


class _Replies(ReplyListener):
    """Collects answers on this process's reply queue."""

    queue_consumer = DrainingConsumer()

    def setup(self) -> None:
        """Declare the exchange that stock nameko would have made under another name."""
        super().setup()
        self.queue.exchange = broker.RPC_EXCHANGE

    def forget(self, correlation_id: str) -> None:
        """Drop a waiter whose caller has given up."""
        self._reply_events.pop(correlation_id, None)


class Caller(DependencyProvider):
    """Calls operations. Safe to use from many greenlets at once."""

    replies = _Replies()

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
            request_id, traceparent: for the logs of every service.
            timeout_s: how long to wait; the operation's own time by default.

        Raises:
            Unavailable: the broker is away, or nobody consumes the service's queue; known within 2 s.
            DeadlineExceeded: no answer in time. The change may have been made.
            HubError: whatever the service answered.
        """
        limit = timeout_s or operation.timeout_s
        runtime = self.container.config[RUNTIME]
        signing: SigningKey = runtime.extra[SIGNING_KEY]
        headers = {
            rpc.TOKEN: mint(subject, operation.service, signing, expires_in_s=limit, jti=request_id),
            rpc.REQUEST_ID: request_id, rpc.KEY: key or request_id, rpc.TIMEOUT_MS: int(limit * 1000),
            rpc.TRACEPARENT: traceparent,
        }
        correlation_id = uuid.uuid4().hex
        waiter = self.replies.get_reply_event(correlation_id)
        try:
            self._publish(operation, pack(operation.request, request), headers, correlation_id, limit)
            reply = self._wait(operation, waiter, limit)
        finally:
            self.replies.forget(correlation_id)
        if "error" in reply:
            raise HubError.from_wire(reply["error"])
        return Answer(unpack(operation.response, reply["result"]), bool(reply.get("replayed")))

    def _publish(self, operation: Operation, request: dict[str, Any], headers: dict[str, Any], correlation_id: str,
                 limit: float) -> None:
        connection = broker.connect(self.container.config[RUNTIME].settings.amqp_uri, confirm=True)
        for attempt in (1, 2):
            try:
                with Timeout(broker.CONNECT_TIMEOUT_S, socket.timeout), \
                        producers[connection].acquire(block=True) as producer:
                    try:
                        producer.publish(
                            {"request": request}, exchange=broker.RPC_EXCHANGE, routing_key=operation.routing_key,
                            mandatory=True, delivery_mode=1, expiration=limit, headers=headers, serializer="json",
                            reply_to=self.replies.routing_key, correlation_id=correlation_id, retry=False)
                    except Exception:
                        producer.connection.collect()  # a broken connection must not go back into the pool whole
                        raise
                return
            except ChannelError as error:
                raise Unavailable(f"The {operation.service} service is not there", retry_after_s=2) from error
            except (*broker.CONNECTION_ERRORS, KombuError) as error:
                # A pooled connection may have died while idle; the key makes a second copy of the request harmless.
                if attempt == 2:
                    raise Unavailable("The message broker is away", retry_after_s=2) from error

    def _wait(self, operation: Operation, waiter: Event, limit: float) -> dict[str, Any]:
        deadline = time.monotonic() + limit
        with Timeout(min(ASK_FOR_CONSUMERS_AFTER_S, limit), False):
            reply: dict[str, Any] = waiter.wait()
            return reply
        if not self._has_consumers(operation):
            raise Unavailable(f"The {operation.service} service is not there", retry_after_s=2)
        with Timeout(max(deadline - time.monotonic(), 0.001), False):
            late_reply: dict[str, Any] = waiter.wait()
            return late_reply
        raise DeadlineExceeded(f"The {operation.service} service did not answer within {limit:g} s", retry_after_s=1)

    def _has_consumers(self, operation: Operation) -> bool:
        settings = self.container.config[RUNTIME].settings
        queue = broker.rpc_queue(operation.service, settings.rpc_queue_type)
        try:
            with Timeout(0.8, socket.timeout), connections[broker.connect(settings.amqp_uri)].acquire(block=True) as link:
                return broker.consumers_of(link, queue.name) > 0
        except (*broker.CONNECTION_ERRORS, KombuError) as error:
            log.warning("broker_away", error=type(error).__name__)
            return False
