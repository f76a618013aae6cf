"""The door of a service: a contract's operation becomes a remote procedure.

`@exposes(OPERATION)` verifies who calls, loads and authorises the request, finds an earlier answer, runs the method in
one transaction and dumps what it returned. The method itself says only what is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any

from sqlalchemy.orm import Session

from chassis import masking, metrics, telemetry, tracing
from chassis.access import require
from chassis.answering import KEY, TOKEN, TRACEPARENT, Asked, Exposed
from chassis.audit import denials, trail, views
from chassis.context import Subject
from chassis.crypto import fingerprint
from chassis.database import LOCK_TIMEOUT_S, after_commit, new_id
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
from contracts.schema import canonical, pack, unpack

log = telemetry.logger(__name__)

LEASE_TIMES = 2.0
"""How often the caller's time-out a key is held for work between transactions; a crash frees it after that."""

_LOOK_AGAIN_S = 0.1


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

        return Exposed.decorator(operation=operation)(door)

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
