"""Watching calls to targets: each is timed, traced and named in every line that is logged meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from prometheus_client import Histogram

from chassis import metrics, telemetry, tracing
from hub_adapter.client import Exchange
from services.integrations.operations.jobs import Job
from services.integrations.operations.outcomes import Outcome

CALLS = Histogram(
    "adapter_call_seconds", "Time of one call for a delivery, of however many HTTP exchanges; outcome is ok, or the "
                            "class of the error. Its count is the attempts by class.",
    ["connection", "adapter", "action", "outcome"], buckets=metrics.SECONDS)

Observer = Callable[[Exchange], None]


def watched(perform: Callable[[Job], Outcome], job: Job, connection: str, adapter: str) -> Outcome:
    """Make a call, and return its outcome with the span that it had.

    A retry is a part of what the event began, as the first call was, and links to the call before it.
    """
    began = time.monotonic()
    with tracing.span(f"{job.action} {job.entity}", "internal", job.traceparent or "", links=(job.last_call,),
                      hub__connection=connection, hub__adapter=adapter, hub__delivery_id=job.delivery_id,
                      hub__attempt=job.fence) as span, \
            telemetry.about(traceparent=span.traceparent, delivery_id=job.delivery_id, connection=connection):
        outcome = perform(replace(job, traceparent=span.traceparent) if span.recorded else job)
        result = outcome.failed.kind if outcome.failed else metrics.OK
        traced = span.traceparent if span.recorded else None
        if outcome.failed is not None:
            span.fail(result)
    CALLS.labels(connection, adapter, job.action, result).observe(time.monotonic() - began)
    return replace(outcome, job=job, span=traced) if traced else outcome


def traced(observer: Observer, traceparent: str) -> Observer:
    """Return `observer`, or one that exports each exchange as well, under the id that the target was told."""
    if not tracing.on():
        return observer

    def observe(exchange: Exchange) -> None:
        ended_ns = time.time_ns()
        # Neither path nor query: what is searched for may be a person.
        tracing.past(exchange.method, "client", traceparent, started_ns=ended_ns - exchange.duration_ms * 1_000_000,
                     ended_ns=ended_ns, traceparent=exchange.traceparent, server__address=_host(exchange.url),
                     http__request__method=exchange.method, http__response__status_code=exchange.status,
                     error="no answer" if exchange.status is None
                     else str(exchange.status) if exchange.status >= 400 else None)
        observer(exchange)

    return observe


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
