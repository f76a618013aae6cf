"""How a request reaches a service and its answer leaves: one queue a service, an answer to each, and a place aside.

What is done with a request stands in `chassis.rpc`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import eventlet
from kombu import Connection, Queue
from kombu.message import Message
from nameko.rpc import Rpc, RpcConsumer

from chassis import broker, telemetry
from chassis.container import RUNTIME, DrainingConsumer
from chassis.publishing import SECOND_COPY, BrokerAway, Publisher
from contracts.errors import BadRequest, InternalError
from contracts.operation import Operation

log = telemetry.logger(__name__)

TOKEN, REQUEST_ID, KEY, TIMEOUT_MS, TRACEPARENT = (
    "hub-token", "hub-request-id", "hub-key", "hub-timeout-ms", "traceparent")
"""Message headers of a request."""

REPLY_WITHIN_S, REPLY_AGAIN_S = 5.0, 0.1
PARK_WITHIN_S = 5.0


@dataclass(frozen=True)
class Asked:
    """A request as it came from the broker, before anybody has looked inside."""

    body: Mapping[str, Any]
    headers: Mapping[str, Any]
    redelivered: bool
    arrived_at: float
    patience_s: float

    @classmethod
    def of(cls, body: Any, message: Message) -> Asked:
        """Return what a message asks that has arrived now.

        Raises:
            ValueError: it is no request, with what it lacks.
        """
        headers = message.headers or {}
        if not message.properties.get("reply_to") or not isinstance(body, Mapping) \
                or not isinstance(body.get("request"), Mapping):
            raise ValueError("it has no reply_to, or its body is not {request: {..}}")
        try:
            patience_s = int(headers.get(TIMEOUT_MS, 30_000)) / 1000
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"its {TIMEOUT_MS} is no whole number") from None
        return cls(body, headers, bool(message.delivery_info.get("redelivered")), time.monotonic(), patience_s)

    @property
    def request_id(self) -> str:
        """Names this request in every log."""
        return str(self.headers.get(REQUEST_ID, ""))

    @property
    def second_copy(self) -> bool:
        """Whether the caller sent it twice, because its connection broke under the first."""
        return bool(self.headers.get(SECOND_COPY))

    @property
    def late(self) -> bool:
        """Whether the caller has stopped waiting. Measured here, so that no two clocks need agree."""
        return time.monotonic() - self.arrived_at > self.patience_s


class RequestConsumer(RpcConsumer):
    """Consumes the service's request queue; answers once, and parks what nobody could answer."""

    queue_consumer = DrainingConsumer()
    prompt = False

    def __init__(self) -> None:
        self._running: set[tuple[Any, Any]] = set()
        super().__init__()
        self.queue: Queue = None

    def setup(self) -> None:
        """Choose the queue; it is declared at every (re)connection."""
        if self.queue is None:
            settings = self.container.config[RUNTIME].settings
            self.queue = broker.rpc_queue(self.container.service_name, settings.rpc_queue_type)
            self._replies = Publisher(settings.amqp_uri, confirm=False)
            self._parking = Publisher(settings.amqp_uri, confirm=True)
            self.queue_consumer.register_provider(self)
            self._registered = True

    def stop(self) -> None:
        """Close what answers went out by; the last one has been sent."""
        super().stop()
        self._replies.close()
        self._parking.close()

    def declare(self, connection: Connection) -> None:
        """Declare the parking queue before a message can need it."""
        broker.parking_queue(self.queue, keep_ms=broker.PARKED_FOR_MS)(connection.default_channel).declare()

    def start(self) -> None:
        """Open what answers will go out by: a busy broker may take longer for it than a caller waits."""
        super().start()
        eventlet.spawn_n(self._replies.prepare)

    def handle_message(self, body: Any, message: Message) -> None:
        """Give the request to its method, or park it: a stock consumer dies of one without `reply_to`."""
        try:
            asked = Asked.of(body, message)
        except ValueError as error:
            self.park(message, str(error))
            return
        method = message.delivery_info["routing_key"].rpartition(".")[2]
        provider = next((p for p in self._providers if p.method_name == method), None)
        if provider is None:
            self.reply(asked, message, {"error": BadRequest(f"There is no operation {method}").to_wire()})
            return
        if _name_of(message) in self._running:
            # The connection broke under a request that still runs here; that run answers it.
            self.queue_consumer.ack_message(message)
            return
        self._running.add(_name_of(message))
        try:
            provider.take(asked, message)
        except BaseException:
            self._running.discard(_name_of(message))
            raise

    def reply(self, asked: Asked, message: Message, payload: Mapping[str, Any]) -> None:
        """Send the answer, transient and unconfirmed, then acknowledge the request.

        A broker that does not take it is asked again for as long as the caller waits: nobody else will answer.
        """
        while (error := self._send(message, payload)) is not None:
            if asked.late or not isinstance(error, BrokerAway):
                log.warning("reply_lost", error=type(error).__name__)
                break
            time.sleep(REPLY_AGAIN_S)
        self._running.discard(_name_of(message))
        self.queue_consumer.ack_message(message)

    def _send(self, message: Message, payload: Mapping[str, Any]) -> Exception | None:
        properties = message.properties
        try:
            self._replies.publish(json.dumps(payload).encode(), exchange=broker.RPC_EXCHANGE.name,
                                  routing_key=properties["reply_to"], within_s=REPLY_WITHIN_S, delivery_mode=1,
                                  correlation_id=properties.get("correlation_id") or "")
        except (BrokerAway, TypeError, ValueError) as error:
            return error
        return None

    def park(self, message: Message, reason: str) -> None:
        """Move a malformed request aside without its token.

        Raises:
            BrokerAway: it could not be kept there; it is still in hand.
        """
        log.error("request_parked", routing_key=message.delivery_info.get("routing_key"), reason=reason)
        headers = {k: v for k, v in (message.headers or {}).items() if k != TOKEN} | {"hub-parked-because": reason}
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body or b"")
        self._parking.publish(body, exchange=broker.DEAD.name, routing_key=f"{self.queue.name}.dead", delivery_mode=2,
                              within_s=PARK_WITHIN_S, application_headers=headers,
                              content_type=message.content_type or "application/octet-stream",
                              content_encoding=message.content_encoding or "binary")
        self.queue_consumer.ack_message(message)


def _name_of(message: Message) -> tuple[Any, Any]:
    return message.properties.get("reply_to"), message.properties.get("correlation_id")


class Exposed(Rpc):
    """The entrypoint behind `@exposes`."""

    rpc_consumer = RequestConsumer()
    pool = "requests"

    def __init__(self, *, operation: Operation, **kwargs: Any) -> None:
        self.operation = operation
        super().__init__(**kwargs)

    def setup(self) -> None:
        """Register; the method must carry the operation's name, by which callers reach it."""
        if self.method_name != self.operation.name:
            raise TypeError(f"{self.method_name} exposes {self.operation.name}: give the method that name")
        super().setup()

    def take(self, asked: Asked, message: Message) -> None:
        """Run the method in a worker, unless its caller has stopped waiting by the time one is free.

        Also while draining: given back, it would reach another process marked as redelivered and be answered "retry".
        """
        self.container.spawn_worker(self, (asked,), {}, handle_result=partial(self.settle, asked, message))

    def settle(self, asked: Asked, message: Message, _worker: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        """Send what the door returned."""
        if exc_info is not None:
            result = {"error": InternalError().to_wire()}
        self.rpc_consumer.reply(asked, message, result)
        return result, None
