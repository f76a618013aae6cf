"""The door of a service: a contract's operation becomes a remote procedure.

`@exposes(OPERATION)` verifies who calls, loads and authorises the request, finds an earlier answer, runs the method in
one transaction and dumps what it returned. The method itself says only what is done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any

from kombu import Connection, Queue
from kombu.message import Message
from nameko.rpc import Rpc, RpcConsumer
from sqlalchemy.orm import Session

from chassis import broker, masking, metrics, telemetry, tracing
from chassis.access import require
from chassis.audit import denials, trail, views
from chassis.container import RUNTIME, DrainingConsumer
from chassis.context import Subject
from chassis.crypto import fingerprint
from chassis.database import LOCK_TIMEOUT_S, after_commit, new_id
from chassis.failpoints import failpoint
from chassis.idempotency import Claim
from chassis.publishing import SECOND_COPY, BrokerAway, Publisher
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
from contracts.schema import canonical, pack, unpack

log = telemetry.logger(__name__)

TOKEN, REQUEST_ID, KEY, TIMEOUT_MS, TRACEPARENT = (
    "hub-token", "hub-request-id", "hub-key", "hub-timeout-ms", "traceparent")
"""Message headers of a request."""

REPLY_WITHIN_S = 5.0
PARK_WITHIN_S = 5.0
LEASE_TIMES = 2.0
"""How often the caller's time-out a key is held for work between transactions; a crash frees it after that."""

_LOOK_AGAIN_S = 0.1


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
    def second_copy(self) -> bool:
        """Whether the caller sent it twice, because its connection broke under the first."""
        return bool(self.headers.get(SECOND_COPY))

    @property
    def late(self) -> bool:
        """Whether the caller has stopped waiting. Measured here, so that no two clocks need agree."""
        return (time.monotonic() - self.arrived_at) * 1000 > float(self.headers.get(TIMEOUT_MS, 30_000))


def _kept_by_the_door(_session: Session, _answer: object) -> None:
    """Do nothing: the door keeps the answer in the transaction that it opened."""


@dataclass(frozen=True)
class Call:
    """What an operation is given.

    Attributes:
        session: a write transaction if the operation mutates, else a read transaction. None with `session=False`.
        request: the loaded request.
        subject: on whose behalf.
        runtime: the process's parts.
        request_id: names the call in logs.
        keep: keeps the answer for a replay. A mutation with `session=False` calls it in the transaction of its effect,
            so that there is no effect without its answer; one that ends without having kept any is broken.
    """

    session: Session
    request: dict[str, Any]
    subject: Subject
    runtime: Runtime
    request_id: str
    keep: Callable[[Session, object], None] = _kept_by_the_door


def exposes(
    operation: Operation, *, session: bool = True, again: Reader | None = None, unmasked: Unmasks | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Make a method answer `operation`.

    Args:
        operation: from `contracts`.
        session: False for an operation that must call the outside world between its own transactions; it opens them
            through `call.runtime.db`. A mutation holds its key by a lease meanwhile, and tells `call.keep` its answer.
        again: reads the record of an answer, or that of the request's id, as its subject may see it. A kept answer is
            given out only to whoever can still read the record; without it the permission alone decides.
        unmasked: for answers with masks over records that have no owner of their own: which of them the subject may
            see as they are. Asked where neither all nor none of what it may read is within that right.
    """

    def decorate(method: Callable[[Any, Call], Any]) -> Any:
        @wraps(method)
        def door(service: Any, asked: Asked) -> dict[str, Any]:
            return _answer(_Door(operation, partial(method, service), session, again, unmasked), asked, service.runtime)

        return _Exposed.decorator(operation=operation)(door)

    return decorate


Reader = Callable[[Session, str, Subject], object]
"""Returns a record within a subject's reach, or raises `NotFound`: `queries.<noun>.get`."""
Unmasks = Callable[[Session, Collection[str], Subject], Collection[str]]
"""Returns those of some ids whose records lie within the reach of a subject's `unmask`: `queries.<noun>.unmasked`."""


@dataclass(frozen=True)
class _Door:
    operation: Operation
    method: Callable[[Call], Any]
    session: bool
    again: Reader | None
    unmasked: Unmasks | None


def _answer(door: _Door, asked: Asked, runtime: Runtime) -> dict[str, Any]:
    """Return the reply, counted and traced."""
    name = door.operation.routing_key
    with tracing.span(name, "server", str(asked.headers.get(TRACEPARENT, "")), rpc__system="nameko") as span:
        token = telemetry.correlation.set({"request_id": asked.request_id, "traceparent": span.traceparent})
        try:
            reply = _reply(door, asked, runtime)
        finally:
            telemetry.correlation.reset(token)
        outcome = reply["error"]["code"] if "error" in reply else metrics.OK
        if outcome != metrics.OK:
            span.fail(outcome)
    metrics.RPC_SERVER.labels(name, outcome).observe(time.monotonic() - asked.arrived_at)
    return reply


def _reply(door: _Door, asked: Asked, runtime: Runtime) -> dict[str, Any]:
    """Return the reply: `{"result": ..}`, with `replayed` if it was had before, or `{"error": ..}`."""
    operation = door.operation
    try:
        if asked.late:
            raise DeadlineExceeded("The request waited longer than its caller; it was not run")
        subject = runtime.verifier.verify(str(asked.headers.get(TOKEN, "")), operation.service)
        with denials.written(runtime, operation, subject, asked.body.get("request"), asked.request_id):
            _admit(operation, subject)
            request = unpack(operation.request, asked.body.get("request"))
            call = Call(_NO_SESSION, request, subject, runtime, asked.request_id)
            return _as_seen(door, call, _way(door)(door, asked, call))
    except HubError as error:
        if error.status >= 500:
            log.warning("operation_failed", operation=operation.routing_key, code=error.code, reason=error.message)
        return {"error": error.to_wire()}
    except Exception as error:
        log.error("operation_broken", operation=operation.routing_key, error=type(error).__name__,
                  **telemetry.where(error))
        return {"error": InternalError("Something went wrong on our side", request_id=asked.request_id).to_wire()}


_NO_SESSION: Any = None


def _as_seen(door: _Door, call: Call, reply: dict[str, Any]) -> dict[str, Any]:
    """Return the reply as its subject may see it: the one place where masks are put on, over whatever is answered.

    What it shows of others without a mask is written down first.
    """

    def discerns(ids: Collection[str]) -> Collection[str]:
        if door.unmasked is None:
            return ()
        with call.runtime.db.read() as opened:
            return door.unmasked(opened, ids, call.subject)

    shown = masking.seen(door.operation.response, reply["result"], call.subject, discerns)
    views.written(call.runtime, door.operation, call.subject, shown, call.request_id)
    return {**reply, "result": shown.answer}


def _way(door: _Door) -> Callable[[_Door, Asked, Call], dict[str, Any]]:
    if not door.operation.mutates:
        return _run_query
    if door.session:
        return _run_mutation
    # On nobody's behalf there is nobody whose key it could be.
    return _run_query if door.operation.internal else _run_between


def _admit(operation: Operation, subject: Subject) -> None:
    if operation.internal and subject.kind != "service":
        raise Forbidden(f"{operation.name} is not for callers from outside")
    require(subject, operation.permission)


def _run_query(door: _Door, asked: Asked, call: Call) -> dict[str, Any]:
    # It may have killed the process that had it first; and a change that keeps no key must not run for a second copy.
    if asked.redelivered or (door.operation.mutates and asked.second_copy):
        raise Unavailable("The request met a restart; ask again", retry_after_s=1)
    if not door.session:
        return {"result": pack(door.operation.response, door.method(call))}
    with call.runtime.db.read() as opened:
        return {"result": pack(door.operation.response, door.method(_in(opened, call)))}


def _run_mutation(door: _Door, asked: Asked, call: Call) -> dict[str, Any]:
    operation = door.operation
    claim = _claim(operation, asked, call)
    with call.runtime.db.write() as opened:
        if asked.redelivered and not claim.known(opened):
            raise Unavailable("The request met a restart; ask again with the same key", retry_after_s=1)
        if not claim.take(opened):
            return {"result": _replay(door, claim, _in(opened, call)), "replayed": True}
        written = trail.Asked.of(operation, call.request, call.subject, call.request_id)
        answer = pack(operation.response, door.method(_in(opened, call)))
        if written is not None:
            written.done(opened, answer)
        if not operation.unsaved:
            claim.keep(opened, answer)
        failpoint(f"{operation.name}.before_commit")
    failpoint(f"{operation.name}.after_commit")
    return {"result": answer}


def _run_between(door: _Door, asked: Asked, call: Call) -> dict[str, Any]:
    """Run a mutation that opens its own transactions, under a lease of its key."""
    operation, holder = door.operation, new_id()
    claim = _claim(operation, asked, call)
    earlier = _lease(door, claim, holder, asked, call)
    if earlier is not None:
        return {"result": earlier, "replayed": True}
    kept: list[bool] = []
    written = trail.Asked.of(operation, call.request, call.subject, call.request_id)

    def keep(opened: Session, value: object) -> None:
        answer = pack(operation.response, value)
        claim.settle(opened, holder, None if operation.unsaved else answer)
        if written is not None:
            written.done(opened, answer)
        after_commit(opened, partial(kept.append, True))

    try:
        failpoint(f"{operation.name}.leased")
        value = door.method(replace(call, keep=keep))
        answer = pack(operation.response, value)
        if not kept:
            raise RuntimeError(f"{operation.name} kept no answer with its effect: a repeat would have it again")
    except BaseException:
        claim.free(call.runtime.db, holder, within_s=_lease_s(door))
        raise
    failpoint(f"{operation.name}.after_commit")
    return {"result": answer}


def _lease(door: _Door, claim: Claim, holder: str, asked: Asked, call: Call) -> Mapping[str, Any] | None:
    """Take the key and return None, or return what was answered before; wait a moment for a rival to end."""
    give_up_at = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            with call.runtime.db.write() as opened:
                if asked.redelivered and not claim.known(opened):
                    raise Unavailable("The request met a restart; ask again with the same key", retry_after_s=1)
                if claim.lease(opened, holder, for_s=_lease_s(door)):
                    return None
                return _replay(door, claim, _in(opened, call))
        except DuplicateInFlight:
            if time.monotonic() > give_up_at:
                raise
        time.sleep(_LOOK_AGAIN_S)


def _lease_s(door: _Door) -> float:
    return LEASE_TIMES * door.operation.timeout_s


def _claim(operation: Operation, asked: Asked, call: Call) -> Claim:
    key = str(asked.headers.get(KEY) or asked.request_id)
    if not key or len(key) > 255:
        raise BadRequest("A changing request needs a key of at most 255 characters")
    # One key may serve two records, as it may two paths of HTTP.
    scope = "/".join(filter(None, (operation.name, str(call.request.get("id", "")))))
    return Claim(call.subject.id, scope, key, fingerprint(call.runtime.master, canonical(call.request).encode()))


def _replay(door: _Door, claim: Claim, call: Call) -> Mapping[str, Any]:
    """Return the kept answer, if its subject may still read the record."""
    answer = claim.earlier_answer(call.session)
    if door.again is not None:
        door.again(call.session, str(answer.get("id") or call.request["id"]), call.subject)
    return answer


def _in(session: Session, call: Call) -> Call:
    return Call(session, call.request, call.subject, call.runtime, call.request_id)


class _RequestConsumer(RpcConsumer):
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

    def handle_message(self, body: Any, message: Message) -> None:
        """Give the request to its method, or park it: a stock consumer dies of one without `reply_to`."""
        if not message.properties.get("reply_to") or not isinstance(body, Mapping) \
                or not isinstance(body.get("request"), Mapping):
            self.park(message, "it has no reply_to, or its body is not {request: {..}}")
            return
        method = message.delivery_info["routing_key"].rpartition(".")[2]
        provider = next((p for p in self._providers if p.method_name == method), None)
        if provider is None:
            self.reply(message, {"error": BadRequest(f"There is no operation {method}").to_wire()})
            return
        if _name_of(message) in self._running:
            # The connection broke under a request that still runs here; that run answers it.
            self.queue_consumer.ack_message(message)
            return
        headers = message.headers or {}
        asked = Asked(body, headers, bool(message.delivery_info.get("redelivered")), time.monotonic())
        self._running.add(_name_of(message))
        try:
            provider.take(asked, message)
        except BaseException:
            self._running.discard(_name_of(message))
            raise

    def reply(self, message: Message, payload: Mapping[str, Any]) -> None:
        """Send the answer, transient and unconfirmed, then acknowledge the request."""
        properties = message.properties
        try:
            self._replies.publish(json.dumps(payload).encode(), exchange=broker.RPC_EXCHANGE.name,
                                  routing_key=properties["reply_to"], within_s=REPLY_WITHIN_S, delivery_mode=1,
                                  correlation_id=properties.get("correlation_id") or "")
        except (BrokerAway, TypeError, ValueError) as error:
            log.warning("reply_lost", error=type(error).__name__)
        self._running.discard(_name_of(message))
        self.queue_consumer.ack_message(message)

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
        """Run the method in a worker, unless its caller has stopped waiting by the time one is free.

        Also while draining: given back, it would reach another process marked as redelivered and be answered "retry".
        """
        self.container.spawn_worker(self, (asked,), {}, handle_result=partial(self.settle, message))

    def settle(self, message: Message, _worker: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        """Send what the door returned."""
        if exc_info is not None:
            result = {"error": InternalError().to_wire()}
        self.rpc_consumer.reply(message, result)
        return result, None
