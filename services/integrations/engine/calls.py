"""One call to a target, from a job to its outcome. Never inside a transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from chassis.failpoints import failpoint
from hub_adapter.client import Exchange
from hub_adapter.failure import Invalid
from hub_adapter.port import Context, Remote, Write
from services.integrations.domain import failures
from services.integrations.engine.targets import Target
from services.integrations.operations.claims import Job
from services.integrations.operations.settlements import Failed, Outcome

Clock = Callable[[], dt.datetime]


def perform(target: Target, job: Job, clock: Clock, deadline_s: float) -> Outcome:
    """Make the call; whatever happens is an outcome, never an exception."""
    seen: list[Exchange] = []
    started_at = clock()
    answer: dict[str, Any] = {}
    failed: Failed | None = None
    try:
        failpoint("engine.before_call")
        with target.calling(clock, deadline_s, seen.append, job.traceparent) as ctx:
            answer = _ASK[job.action](target, job, ctx)
    except Exception as error:
        failed = failed_with(target, error)
        answer = {"found": "unanswered"} if job.action == "find" else {}
    failpoint("engine.after_call")
    return Outcome(job=job, started_at=started_at, ended_at=clock(), failed=failed, can_find=target.can_find,
                   honours_key=target.honours_key, **answer, **_previews(seen))


def failed_with(target: Target, error: BaseException) -> Failed:
    """Return what an adapter's exception means."""
    try:
        failure = target.adapter.classify(error)
    except Exception as broken:
        return Failed(kind=failures.ADAPTER_ERROR, message=f"{type(error).__name__}, and classify failed on it with "
                                                           f"{type(broken).__name__}")
    # What a target says may repeat what it was sent, and the message goes where previews do not: events, logs, people.
    return Failed(kind=str(failure.error_class), message=target.redacted(failure.message),
                  field=target.redacted(failure.field) if failure.field else None,
                  retry_after_s=failure.retry_after_s, http_status=failure.http_status)


def unanswered(target: Target, job: Job, started_at: dt.datetime, now: dt.datetime, limit_s: float) -> Outcome:
    """Return the outcome of a call that has not come back in all its time."""
    return Outcome(job=job, started_at=started_at, ended_at=now, can_find=target.can_find,
                   honours_key=target.honours_key, found="unanswered" if job.action == "find" else None,
                   failed=Failed(kind=failures.AMBIGUOUS, message=f"no answer within {limit_s:g} s"))


def _write(target: Target, job: Job, ctx: Context) -> dict[str, Any]:
    written = target.adapter.write(ctx, job.entity, Write(
        local_id=job.local_id, body=job.body, idempotency_key=job.key, source_version=job.version,
        external_id=job.external_id, expected_version=job.remote_version, references=job.references))
    return {"external_id": written.external_id, "remote_version": written.remote_version}


def _delete(target: Target, job: Job, ctx: Context) -> dict[str, Any]:
    external_id = job.external_id
    if external_id is None:
        if not target.can_find:
            raise Invalid("whether it was ever made there is not known, and the target cannot be asked: look there")
        found = target.adapter.find(ctx, job.entity, {"id": job.local_id})
        if not found:
            return {}
        external_id = found[0].external_id
    target.adapter.delete(ctx, job.entity, external_id, idempotency_key=job.key, expected_version=job.remote_version)
    return {}


def _find(target: Target, job: Job, ctx: Context) -> dict[str, Any]:
    if job.external_id is not None:
        known = target.adapter.get(ctx, job.entity, job.external_id)
        remotes: Sequence[Remote] = [known] if known is not None else []
    elif target.can_find:
        remotes = target.adapter.find(ctx, job.entity, {"id": job.local_id})
    else:
        remotes = []
    if not remotes:
        return {"found": "absent"}
    return {"found": "found", "external_id": remotes[0].external_id, "remote_version": remotes[0].version}


_ASK: dict[str, Callable[[Target, Job, Context], dict[str, Any]]] = {"write": _write, "delete": _delete, "find": _find}


def _previews(seen: list[Exchange]) -> dict[str, Any]:
    """Return what an attempt keeps: the last exchange that changed something, else the last."""
    if not seen:
        return {}
    last = next((exchange for exchange in reversed(seen) if exchange.changes), seen[-1])
    return {"http_status": last.status, "request_preview": last.request_preview,
            "response_preview": last.response_preview or last.error, "trace_id": last.trace_id}
