"""One trace of a request over every process that it passes (https://www.w3.org/TR/trace-context/).

A `Span` here is some ids and two times. Only while an exporter is set are spans given to the OpenTelemetry SDK, whole,
when they end; without one the SDK is not even imported, and the trace of whoever called is passed on as it came, so
that logs of all rooms name it. Parents are named explicitly: an event, a delivery and its retries outlive every call
stack.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

Kind = Literal["server", "client", "producer", "consumer", "internal"]
Attribute = str | int | float | bool

FLUSH_S = 2.0
"""Seconds that a stopping process gives its last spans to leave."""

_LENGTH = len("00-") + 32 + 1 + 16 + len("-01")


class Span:
    """A piece of work with a beginning and an end; a context manager that an exception marks as failed.

    Attributes:
        traceparent: for whatever happens within it, here or elsewhere; empty when nobody traces and nobody asked.
        recorded: whether it will be exported.
    """

    __slots__ = ("_attributes", "_links", "_parent", "_started_ns", "error", "kind", "name", "recorded", "traceparent")

    def __init__(self, name: str, kind: Kind, traceparent: str, *, parent: str = "", recorded: bool = False,
                 links: Sequence[str] = (), attributes: dict[str, Attribute] | None = None,
                 started_ns: int = 0) -> None:
        self.name, self.kind, self.traceparent, self.recorded = name, kind, traceparent, recorded
        self.error: str | None = None
        self._parent, self._links, self._attributes = parent, links, attributes or {}
        self._started_ns = started_ns or (time.time_ns() if recorded else 0)

    def set(self, **attributes: Attribute | None) -> None:
        """Add what is known by now; names with `__` stand for those with a dot. Never a body, a secret or a person."""
        if self.recorded:
            self._attributes |= {name.replace("__", "."): value for name, value in attributes.items()
                                 if value is not None}

    def fail(self, error: str) -> None:
        """Say that it failed, by the name of an error's class or code."""
        self.error = error

    def end(self, ended_ns: int | None = None) -> None:
        """Give it to the exporter; once."""
        if self.recorded and _recorder is not None:
            self.recorded = False
            _recorder.record(self, self._parent, self._links, self._attributes, self._started_ns,
                             ended_ns or time.time_ns())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if kind is not None:
            self.error = self.error or kind.__name__
        self.end()


def on() -> bool:
    """Whether this process exports spans."""
    return _recorder is not None


def span(name: str, kind: Kind, within: str, *, links: Sequence[str | None] = (), **attributes: Attribute) -> Span:
    """Begin a span.

    Args:
        name: of few different values: an operation, a route, a kind of event; never an id.
        within: the traceparent of what it is a part of; empty begins a trace.
        links: traceparents of what came before it without being its parent: the call that a retry repeats.
        attributes: see `Span.set`.
    """
    if _recorder is None:
        return Span(name, kind, within)
    known = len(within) == _LENGTH
    trace, parent = (within[3:35], within) if known else (secrets.token_hex(16), "")
    sampled = within[-1] in "13579bdf" if known else _recorder.samples(trace)
    return _begin(name, kind, trace, parent, sampled, [link for link in links if link], attributes)


def root(name: str, kind: Kind, given: str = "", **attributes: Attribute) -> Span:
    """Begin what a trace begins with in this hub; it gets an id of its own also when nothing is exported.

    Args:
        name, kind, attributes: as `span`.
        given: the traceparent of a client, if it sent one. Its trace is gone on with; whether it is exported is decided
            here, for a stranger must not be able to fill our store.
    """
    known = len(given) == _LENGTH
    trace = given[3:35] if known else secrets.token_hex(16)
    if _recorder is None:
        return Span(name, kind, f"00-{trace}-{secrets.token_hex(8)}-{given[-2:] if known else '01'}")
    return _begin(name, kind, trace, given if known else "", _recorder.samples(trace), (), attributes)


def past(name: str, kind: Kind, within: str, *, started_ns: int, ended_ns: int | None = None, traceparent: str = "",
         error: str | None = None, **attributes: Attribute | None) -> None:
    """Export a span that is over; `traceparent`, if it is given, is the one that it has told already."""
    made = span(name, kind, within)
    if made.recorded:
        made._started_ns = started_ns
        made.traceparent = traceparent or made.traceparent
        made.error = error
        made.set(**attributes)
        made.end(ended_ns)


def _begin(name: str, kind: Kind, trace: str, parent: str, sampled: bool, links: Sequence[str],
           attributes: dict[str, Attribute]) -> Span:
    named = {key.replace("__", "."): value for key, value in attributes.items()} if sampled else {}
    return Span(name, kind, f"00-{trace}-{secrets.token_hex(8)}-{'01' if sampled else '00'}", parent=parent,
                recorded=sampled, links=links, attributes=named)


# --- handing over to the SDK -----------------------------------------------------------------------------------------


class Recorder:
    """Gives ended spans to the OpenTelemetry SDK, under the ids that they have told already.

    Args:
        room: names the process's service, `crm-hub-<room>`.
        processor: takes the SDK's spans, and exports them.
        ratio: share of traces that begin here and are exported, 0 to 1; by trace id, so that all rooms agree.
    """

    def __init__(self, room: str, processor: SpanProcessor, ratio: float = 1.0) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        told = self._told = threading.local()

        class Told(RandomIdGenerator):
            """The ids that the span has been given; the SDK would make its own."""

            def generate_trace_id(self) -> int:
                return int(told.ids[3:35], 16)

            def generate_span_id(self) -> int:
                return int(told.ids[36:52], 16)

        self._api = trace
        self._bound = round(ratio * 2**64)
        self._provider = TracerProvider(sampler=ALWAYS_ON, id_generator=Told(), shutdown_on_exit=False,
                                        resource=Resource.create({"service.name": f"crm-hub-{room}"}))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("crm-hub")
        self._kinds = {name: trace.SpanKind[name.upper()]
                       for name in ("server", "client", "producer", "consumer", "internal")}

    def samples(self, trace: str) -> bool:
        """Whether a trace that begins here is exported: as the SDK's own sampler by ratio decides."""
        return int(trace[16:], 16) < self._bound

    def record(self, span: Span, parent: str, links: Sequence[str], attributes: dict[str, Attribute], started_ns: int,
               ended_ns: int) -> None:
        """Export one span."""
        self._told.ids = span.traceparent
        made: Any = self._tracer.start_span(
            span.name, context=self._within(parent), kind=self._kinds[span.kind], attributes=attributes,
            links=[self._api.Link(self._context(link)) for link in links if len(link) == _LENGTH],
            start_time=started_ns)
        if span.error:
            made.set_attribute("error.type", span.error)
            made.set_status(self._api.StatusCode.ERROR)
        made.end(end_time=ended_ns)

    def close(self) -> None:
        """Let the last spans leave, for `FLUSH_S` at most."""
        self._provider.force_flush(int(FLUSH_S * 1000))
        self._provider.shutdown()

    def _within(self, parent: str) -> Any:
        from opentelemetry.context import Context

        if not parent:
            return Context()
        return self._api.set_span_in_context(self._api.NonRecordingSpan(self._context(parent)), Context())

    def _context(self, traceparent: str) -> Any:
        return self._api.SpanContext(trace_id=int(traceparent[3:35], 16), span_id=int(traceparent[36:52], 16),
                                     is_remote=True, trace_flags=self._api.TraceFlags(int(traceparent[-2:], 16)))


_recorder: Recorder | None = None


def configure(room: str, endpoint: str, ratio: float = 1.0) -> None:
    """Export the spans of this process by OTLP over HTTP; an empty `endpoint` exports nothing.

    Args:
        room: whose process this is.
        endpoint: base address of a collector, such as `http://collector:4318`.
        ratio: see `Recorder`.
    """
    if endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        install(Recorder(room, BatchSpanProcessor(exporter), ratio))


def install(recorder: Recorder | None) -> None:
    """Export by `recorder` from now on; None exports nothing."""
    global _recorder
    _recorder = recorder


def close() -> None:
    """Let the last spans leave, and export no more."""
    if _recorder is not None:
        _recorder.close()
        install(None)
