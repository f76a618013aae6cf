"""One call to a target, from a job to its outcome. Never inside a transaction."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from chassis.failpoints import failpoint
from hub_adapter.client import Exchange
from hub_adapter.failure import ErrorClass, Invalid, NotFound
from hub_adapter.port import Context, Remote, Write, Written
from services.integrations.domain import failures, merging
from services.integrations.engine.renewals import Renew
from services.integrations.engine.targets import Paced, Target
from services.integrations.operations.jobs import Job
from services.integrations.operations.outcomes import Failed, Met, Outcome

Clock = Callable[[], dt.datetime]
MERGES = 3
"""How often a record is merged and written again within one call."""


def perform(target: Target, job: Job, clock: Clock, deadline_s: float, renew: Renew | None = None) -> Outcome:
    """Make the call; whatever happens is an outcome, never an exception.

    Args:
        target, job: what to do, and where.
        clock: now.
        deadline_s: for all of it.
        renew: asked once for a fresh credential if the target refuses the one it was given.
    """
    seen: list[Exchange] = []
    started_at, began = clock(), time.monotonic()
    failpoint("engine.before_call")
    answer, failed = _called(target, job, clock, deadline_s, seen)
    if failed is not None and failed.kind == failures.AUTH and renew is not None:
        left_s = deadline_s - (time.monotonic() - began)
        try:
            fresh = renew(target, left_s)
        except Exception as error:
            fresh, failed = None, failed_with(target, error)
        if fresh is not None:
            left_s = max(deadline_s - (time.monotonic() - began), 0.1)
            answer, failed = _called(fresh, job, clock, left_s, seen)
    failpoint("engine.after_call")
    return Outcome(job=job, started_at=started_at, ended_at=clock(), failed=failed, can_find=job.sought is not None,
                   honours_key=target.honours_key, **answer, **_previews(seen))


def _called(target: Target, job: Job, clock: Clock, deadline_s: float,
            seen: list[Exchange]) -> tuple[dict[str, Any], Failed | None]:
    """Return what the target answered, or why it did not."""
    try:
        with target.calling(clock, deadline_s, seen.append, job.traceparent) as ctx:
            return _ASK[job.action](target, job, ctx), None
    except Exception as error:
        failed = failed_with(target, error, of_a_record=job.external_id is not None)
        return ({"found": "unanswered"} if job.action == "find" else {}), failed


def failed_with(target: Target, error: BaseException, *, of_a_record: bool = False) -> Failed:
    """Return what an adapter's exception means.

    Said of a record, 410 means that the record has gone. Said of anything else it is the target itself.
    """
    if isinstance(error, Paced):
        return Failed(kind=failures.PACED, message=error.failure.message, retry_after_s=error.failure.retry_after_s)
    try:
        failure = target.adapter.classify(error)
    except Exception as broken:
        return Failed(kind=failures.ADAPTER_ERROR, message=f"{type(error).__name__}, and classify failed on it with "
                                                           f"{type(broken).__name__}")
    gone = failure.error_class == ErrorClass.NOT_FOUND and failure.http_status == HTTPStatus.GONE and not of_a_record
    # What a target says may repeat what it was sent, and the message goes where previews do not: events, logs, people.
    return Failed(kind=failures.GONE if gone else str(failure.error_class), message=target.redacted(failure.message),
                  field=target.redacted(failure.field) if failure.field else None,
                  retry_after_s=failure.retry_after_s, http_status=failure.http_status)


def unanswered(target: Target, job: Job, started_at: dt.datetime, now: dt.datetime, limit_s: float) -> Outcome:
    """Return the outcome of a call that has not come back in all its time."""
    return Outcome(job=job, started_at=started_at, ended_at=now, can_find=job.sought is not None,
                   honours_key=target.honours_key, found="unanswered" if job.action == "find" else None,
                   failed=Failed(kind=failures.AMBIGUOUS, message=f"no answer within {limit_s:g} s"))


def _write(target: Target, job: Job, ctx: Context) -> dict[str, Any]:
    if job.begun is not None:
        # First it has to be known whether there is anything of ours: only then can it be merged, or made.
        begun = target.adapter.find(ctx, job.entity, job.begun)
        return _found(begun[0]) if begun else {"found": "absent"}
    cmd = Write(local_id=job.local_id, body=_body(target, job, ctx), idempotency_key=job.key,
                source_version=job.version, external_id=job.external_id, expected_version=job.remote_version,
                references=job.references)
    if job.adopted and target.refuses_stale:
        # People may have changed it between the call whose answer was lost and the look that found it.
        return _write_merged(target, job, ctx, cmd)
    try:
        return _answer(target.adapter.write(ctx, job.entity, cmd))
    except Exception as error:
        if job.external_id is None or not _met_another(target, error):
            raise
    return _write_merged(target, job, ctx, cmd)


def _body(target: Target, job: Job, ctx: Context) -> Mapping[str, Any]:
    """Return what is to stand there. Fields that are only set when a record is made are taken from what stands.

    Raises:
        Invalid: the mapping in force can make nothing of the record.
    """
    if job.unmappable is not None:
        raise Invalid(f"the mapping cannot fill it: {job.unmappable}", field=f"/{job.unmappable.field}")
    standing = target.adapter.get(ctx, job.entity, job.external_id) if job.once and job.external_id else None
    return job.body if standing is None else {**job.body, **{
        name: standing.body[name] for name in job.once if name in standing.body}}


def _write_merged(target: Target, job: Job, ctx: Context, cmd: Write) -> dict[str, Any]:
    """Write what both sides have made of the record, as often as it changes under our hands, up to `MERGES`.

    Raises:
        NotFound: the record has gone meanwhile.
        Exception: the last conflict, or whatever else the adapter raises.
    """
    owners = merging.owners_of(job.entity, job.owners)
    for n in range(1, MERGES + 1):
        theirs = target.adapter.get(ctx, job.entity, job.external_id or "")
        if theirs is None:
            raise NotFound("the record has gone while it was being written")
        merged = merging.merge(job.base, theirs.body, cmd.body, owners, left=job.once,
                               theirs_is_later=merging.is_later(theirs.changed_at, job.changed_at))
        # A new key: under the old one a target that honours it could repeat the refusal.
        key = f"{cmd.idempotency_key}-{n}"
        again = replace(cmd, body=merged.body, expected_version=theirs.version, idempotency_key=key)
        try:
            answer = _answer(target.adapter.write(ctx, job.entity, again))
        except Exception as error:
            if n == MERGES or not _met_another(target, error):
                raise
        else:
            return answer | {"met": Met(version=theirs.version or "", body=theirs.body, kept=merged.kept,
                                         disputed=merged.disputed)}
    raise AssertionError("the last try returns or raises")


def _met_another(target: Target, error: Exception) -> bool:
    return failed_with(target, error).kind == failures.VERSION_CONFLICT


def _answer(written: Written) -> dict[str, Any]:
    return {"external_id": written.external_id, "remote_version": written.remote_version, "body": written.body}


def _delete(target: Target, job: Job, ctx: Context) -> dict[str, Any]:
    if job.external_id is None:
        return _half_made(target, job, ctx)
    gone = _deleted(target, job, ctx, job.external_id)
    return {"external_id": job.external_id} | ({"remote_version": gone.remote_version, "body": gone.body} if gone else
                                               {})


def _half_made(target: Target, job: Job, ctx: Context) -> dict[str, Any]:
    """Look for what a call that failed may have left. It is not deleted at once: first it has to be known as ours.

    Raises:
        Invalid: the target cannot be asked for it.
    """
    if job.sought is None:
        raise Invalid("whether it was ever made there is not known, and the target cannot be asked: look there")
    found = target.adapter.find(ctx, job.entity, job.sought) if job.sought else []
    return _found(found[0]) if found else {}


def _found(remote: Remote) -> dict[str, Any]:
    return {"found": "found", "external_id": remote.external_id, "remote_version": remote.version}


def _deleted(target: Target, job: Job, ctx: Context, external_id: str) -> Written | None:
    """Delete a record, as often as it changes under our hands, up to `MERGES` times more; None if it has gone.

    Raises:
        Exception: the last conflict, or whatever else the adapter raises.
    """
    key, version = job.key, job.remote_version
    for n in range(1, MERGES + 2):
        try:
            return target.adapter.delete(ctx, job.entity, external_id, idempotency_key=key, expected_version=version)
        except Exception as error:
            if n > MERGES or not _met_another(target, error):
                raise
        theirs = target.adapter.get(ctx, job.entity, external_id)
        if theirs is None:
            return None
        key, version = f"{job.key}-{n}", theirs.version
    raise AssertionError("the last try returns or raises")


def _find(target: Target, job: Job, ctx: Context) -> dict[str, Any]:
    if job.external_id is not None:
        known = target.adapter.get(ctx, job.entity, job.external_id)
        remotes: Sequence[Remote] = [known] if known is not None else []
    else:
        remotes = target.adapter.find(ctx, job.entity, job.sought) if job.sought else []
    return _found(remotes[0]) if remotes else {"found": "absent"}


_ASK: dict[str, Callable[[Target, Job, Context], dict[str, Any]]] = {"write": _write, "delete": _delete, "find": _find}


def _previews(seen: list[Exchange]) -> dict[str, Any]:
    """Return what an attempt keeps: the last exchange that changed something, else the last."""
    if not seen:
        return {}
    last = next((exchange for exchange in reversed(seen) if exchange.changes), seen[-1])
    return {"http_status": last.status, "request_preview": last.request_preview,
            "response_preview": last.response_preview or last.error, "trace_id": last.trace_id}
