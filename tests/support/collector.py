"""A collector of traces: takes what the rooms export by OTLP over HTTP, and shows it as spans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire

from tests.support.scripted_http import ScriptedServer


@dataclass(frozen=True)
class Span:
    """A span as it arrived; ids in hexadecimal, no parent is an empty text."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    attributes: dict[str, Any]
    failed: bool
    service: str
    seconds: float


@dataclass
class Collector:
    """What has arrived so far."""

    server: ScriptedServer

    @property
    def endpoint(self) -> str:
        """What the rooms are told."""
        return self.server.url

    def spans(self, trace: str = "") -> list[Span]:
        """Every span, or those of one trace."""
        found = []
        for seen in self.server.requests:
            assert seen.path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(seen.body).resource_spans:
                service = _values(resource.resource.attributes)["service.name"]
                found += [_span(one, service) for scope in resource.scope_spans for one in scope.spans]
        return [span for span in found if not trace or span.trace == trace]


def _span(one: Any, service: str) -> Span:
    return Span(
        name=one.name, kind=Wire.SpanKind.Name(one.kind).removeprefix("SPAN_KIND_").lower(), trace=one.trace_id.hex(),
        id=one.span_id.hex(), parent=one.parent_span_id.hex(), links=tuple(link.span_id.hex() for link in one.links),
        attributes=_values(one.attributes), failed=one.status.code == 2, service=service,
        seconds=(one.end_time_unix_nano - one.start_time_unix_nano) / 1e9)


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port."""
    with ScriptedServer() as server:
        yield Collector(server)
