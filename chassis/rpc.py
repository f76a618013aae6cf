"""The door of a service: a contract's operation becomes a remote procedure.

`@exposes(OPERATION)` verifies who calls, loads and authorises the request, finds an earlier answer, runs the method in
one transaction and dumps what it returned. The method itself says only what is done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import kombu
from amqp.exceptions import ChannelError
from kombu.message import Message
from kombu.pools import producers
from nameko.exceptions import ContainerBeingKilled
from nameko.rpc import Rpc, RpcConsumer
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from chassis import broker, telemetry
from chassis.access import require
from chassis.container import RUNTIME, DrainingConsumer
from chassis.context import Subject
from chassis.crypto import fingerprint
from chassis.failpoints import failpoint
from chassis.idempotency import Claim
from chassis.runtime import Runtime
from contracts.errors import (
    BadRequest,
    DeadlineExceeded,
    DuplicateInFlight,
    Forbidden,
    HubError,
    InternalError,
    Unavailable,
)
from contracts.operation import Operation
from contracts.schema import dump, pack, unpack

log = telemetry.logger(__name__)

TOKEN, REQUEST_ID, KEY, TIMEOUT_MS, TRACEPARENT = (
    "hub-token", "hub-request-id", "hub-key", "hub-timeout-ms", "traceparent")
"""Message headers of a request."""


@dataclass(frozen=True)
class Asked:
    """A request as it came from the broker, before anybody has looked inside."""

    body: Mapping[str, Any]
    headers: Mapping[str, Any]
    redelivered: bool
    arrived_at: float

    @property
    def request_id(self) -> str:
        """Names this request in every log."""
        return str(self.headers.get(REQUEST_ID, ""))

    @property
    def late(self) -> bool:
        """Whether the caller has stopped waiting. Measured here, so that no two clocks need agree."""
        return (time.monotonic() - self.arrived_at) * 1000 > float(self.headers.get(TIMEOUT_MS, 30_000))


@dataclass(frozen=True)
class Call:
    """What an operation is given.

    Attributes:
        session: a write transaction if the operation mutates, else a read transaction. None with `session=False`.
        request: the loaded request.
        subject: on whose behalf.
        runtime: the process's parts.
        request_id: names the call in logs.
    """

    session: Session
    request: dict[str, Any]
    subject: Subject
    runtime: Runtime
    request_id: str


def exposes(operation: Operation, *, session: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Make a method answer `operation`.

    Args:
        operation: from `contracts`.
        session: False for an operation that must call the outside world between its own transactions; it opens them
            through `call.runtime.db` and is not stored for a replay.
    """

    def decorate(method: Callable[[Any, Call], Any]) -> Any:
        @wraps(method)
        def door(service: Any, asked: Asked) -> dict[str, Any]:
            return _answer(operation, partial(method, service), asked, service.runtime, session=session)

        return _Exposed.decorator(operation=operation)(door)

    return decorate


def _answer(operation: Operation, method: Callable[[Call], Any], asked: Asked, runtime: Runtime, *,
            session: bool) -> dict[str, Any]:
    """Return the reply: `{"result": ..}`, with `replayed` if it was had before, or `{"error": ..}`."""
    ids = {"request_id": asked.request_id, "traceparent": str(asked.headers.get(TRACEPARENT, ""))}
    token = telemetry.correlation.set(ids)
    try:
        if asked.late:
            raise DeadlineExceeded("The request waited longer than its caller; it was not run")
        subject = runtime.verifier.verify(str(asked.headers.get(TOKEN, "")), operation.service)
        _admit(operation, subject)
        request = unpack(operation.request, asked.body.get("request"))
        run = _run_mutation if operation.mutates and session else _run_query
        return run(operation, method, asked, Call(_NO_SESSION, request, subject, runtime, asked.request_id), session)
    except HubError as error:
        if error.status >= 500:
            log.warning("operation_failed", operation=operation.routing_key, code=error.code, reason=error.message)
        return {"error": error.to_wire()}
    except Exception as error:
        log.error("operation_broken", operation=operation.routing_key, error=type(error).__name__, **_where(error))
        return {"error": InternalError("Something went wrong on our side", request_id=asked.request_id).to_wire()}
    finally:
        telemetry.correlation.reset(token)


_NO_SESSION: Any = None


def _where(error: BaseException) -> dict[str, str]:
    """Return where an unexpected error arose; its text may hold personal data, so it stays out of the log."""
    frames, at = [], error.__traceback__
    while at is not None:
        frames.append(f"{at.tb_frame.f_code.co_filename.rpartition('/')[2]}:{at.tb_lineno}")
        at = at.tb_next
    cause = error.__cause__ or error.__context__
    return {"at": " < ".join(reversed(frames[-4:]))} | ({"cause": type(cause).__name__} if cause else {})


def _admit(operation: Operation, subject: Subject) -> None:
    if operation.internal and subject.kind != "service":
        raise Forbidden(f"{operation.name} is not for callers from outside")
    require(subject, operation.permission)


def _run_query(operation: Operation, method: Callable[[Call], Any], asked: Asked, call: Call,
               session: bool) -> dict[str, Any]:
    if asked.redelivered:
        # It may have killed the process that had it first; the caller asks again if it still wants to know.
        raise Unavailable("The request met a restart; ask again", retry_after_s=1)
    if not session:
        return {"result": pack(operation.response, method(call))}
    with call.runtime.db.read() as opened:
        return {"result": pack(operation.response, method(_in(opened, call)))}


def _run_mutation(operation: Operation, method: Callable[[Call], Any], asked: Asked, call: Call,
                  _session: bool) -> dict[str, Any]:
    key = str(asked.headers.get(KEY) or asked.request_id)
    if not key or len(key) > 255:
        raise BadRequest("A changing request needs a key of at most 255 characters")
    canonical = json.dumps(dump(operation.request, call.request), sort_keys=True, ensure_ascii=False)
    claim = Claim(call.subject.id, operation.name, key, fingerprint(call.runtime.master, canonical.encode()))
    with call.runtime.db.write() as opened:
        if asked.redelivered and not claim.known(opened):
            raise Unavailable("The request met a restart; nothing was changed; ask again", retry_after_s=1)
        if not _taken(claim, opened):
            return {"result": claim.earlier_answer(opened), "replayed": True}
        answer = pack(operation.response, method(_in(opened, call)))
        if not operation.unsaved:
            claim.keep(opened, answer)
        failpoint(f"{operation.name}.before_commit")
    failpoint(f"{operation.name}.after_commit")
    return {"result": answer}


def _taken(claim: Claim, session: Session) -> bool:
    try:
        return claim.take(session)
    except OperationalError as error:
        if "lock timeout" in str(error.orig):
            raise DuplicateInFlight("The same request is being worked on", retry_after_s=1) from error
        raise


def _in(session: Session, call: Call) -> Call:
    return Call(session, call.request, call.subject, call.runtime, call.request_id)


class _RequestConsumer(RpcConsumer):
    """Consumes the service's request queue; answers once, and parks what nobody could answer."""

    queue_consumer = DrainingConsumer()

    def setup(self) -> None:
        """Choose the queue; it is declared at every (re)connection."""
        if self.queue is None:
            runtime: Runtime = self.container.config[RUNTIME]
            self.queue = broker.rpc_queue(self.container.service_name, runtime.settings.rpc_queue_type)
            self.queue_consumer.register_provider(self)
            self._registered = True

    def declare(self, channel: Any) -> None:
        """Declare the parking queue before a message can need it."""
        broker.parking_queue(self.queue, keep_ms=broker.PARKED_FOR_MS)(channel).declare()

    def handle_message(self, body: Any, message: Message) -> None:
        """Give the request to its method, or park it: a stock consumer dies of one without `reply_to`."""
        if not message.properties.get("reply_to") or not isinstance(body, Mapping) \
                or not isinstance(body.get("request"), Mapping):
            self._park(body, message, "it has no reply_to, or its body is not {request: {..}}")
            return
        method = message.delivery_info["routing_key"].rpartition(".")[2]
        provider = next((p for p in self._providers if p.method_name == method), None)
        if provider is None:
            self.reply(message, {"error": BadRequest(f"There is no operation {method}").to_wire()})
            return
        headers = message.headers or {}
        asked = Asked(body, headers, bool(message.delivery_info.get("redelivered")), time.monotonic())
        provider.take(asked, message)

    def reply(self, message: Message, payload: Mapping[str, Any]) -> None:
        """Send the answer, transient and unconfirmed, then acknowledge the request."""
        properties = message.properties
        try:
            with producers[broker.connect(self.container.config[RUNTIME].settings.amqp_uri)].acquire(
                    block=True, timeout=5) as producer:
                producer.publish(dict(payload), exchange=broker.RPC_EXCHANGE, routing_key=properties["reply_to"],
                                 correlation_id=properties.get("correlation_id"), delivery_mode=1, serializer="json",
                                 retry=True, retry_policy={"max_retries": 2, "interval_start": 0.1})
        except (*broker.CONNECTION_ERRORS, ChannelError, kombu.exceptions.KombuError) as error:
            log.warning("reply_lost", error=type(error).__name__)
        self.queue_consumer.ack_message(message)

    def _park(self, body: Any, message: Message, reason: str) -> None:
        """Move a malformed request aside without its token."""
        log.error("request_parked", routing_key=message.delivery_info.get("routing_key"), reason=reason)
        headers = {k: v for k, v in (message.headers or {}).items() if k != TOKEN} | {"hub-parked-because": reason}
        with producers[broker.connect(self.container.config[RUNTIME].settings.amqp_uri)].acquire(
                block=True, timeout=5) as producer:
            producer.publish(body if isinstance(body, str | bytes) else json.dumps(body), headers=headers,
                             exchange=broker.DEAD, routing_key=f"{self.queue.name}.dead", retry=True,
                             content_type="application/json", content_encoding="utf-8",
                             retry_policy={"max_retries": 2, "interval_start": 0.1})
        self.queue_consumer.ack_message(message)


class _Exposed(Rpc):
    """The entrypoint behind `@exposes`."""

    rpc_consumer = _RequestConsumer()
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
        """Run the method in a worker, unless its caller has stopped waiting by the time one is free."""
        try:
            self.container.spawn_worker(self, (asked,), {}, handle_result=partial(self.settle, message))
        except ContainerBeingKilled:
            self.rpc_consumer.requeue_message(message)

    def settle(self, message: Message, _worker: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        """Send what the door returned."""
        if exc_info is not None:
            result = {"error": InternalError().to_wire()}
        self.rpc_consumer.reply(message, result)
        return result, None
