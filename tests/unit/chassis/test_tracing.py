"""Spans: what is passed on when nobody exports, what is exported, and who decides."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis import telemetry, tracing

ROOT = Path(__file__).resolve().parents[3]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    """Spans are exported into memory."""
    exporter = InMemorySpanExporter()
    tracing.install(tracing.Recorder("lab", SimpleSpanProcessor(exporter)))
    yield exporter
    tracing.close()


def test_without_an_exporter_the_callers_trace_is_passed_on_as_it_came() -> None:
    with tracing.span("work", "internal", GIVEN) as span:
        assert (span.traceparent, span.recorded) == (GIVEN, False)
    with tracing.span("work", "internal", "") as span:
        assert span.traceparent == ""


def test_without_an_exporter_a_root_still_names_its_trace_for_the_logs() -> None:
    assert tracing.root("GET", "server", GIVEN).traceparent.split("-")[1::2] == [TRACE, "01"]
    assert len(tracing.root("GET", "server").traceparent) == len(GIVEN)


def test_without_an_exporter_the_sdk_is_not_imported() -> None:
    program = "import sys, chassis.outbox, chassis.rpc; sys.exit('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_a_span_is_exported_under_the_ids_that_it_has_told(exported: InMemorySpanExporter) -> None:
    with tracing.root("GET", "server", GIVEN) as outer, \
            tracing.span("work", "client", outer.traceparent, links=(GIVEN, None), hub__adapter="x") as inner:
        inner.fail("transient")
    work, get = exported.get_finished_spans()
    assert f"{work.context.span_id:016x}" == inner.traceparent[36:52]
    assert f"{get.context.trace_id:032x}" == f"{work.context.trace_id:032x}" == TRACE
    assert work.parent is not None
    assert work.parent.span_id == get.context.span_id
    assert get.parent is not None
    assert f"{get.parent.span_id:016x}" == PARENT
    assert [f"{link.context.span_id:016x}" for link in work.links] == [PARENT]
    assert dict(work.attributes or {}) == {"hub.adapter": "x", "error.type": "transient"}


def test_an_exception_marks_its_span_by_its_class_and_never_by_its_text(exported: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.root("work", "internal"):
        raise ValueError("secret")
    [span] = exported.get_finished_spans()
    assert span.attributes == {"error.type": "ValueError"}
    assert "secret" not in span.to_json()


def test_what_a_stranger_asks_to_be_traced_is_decided_here_by_the_ratio() -> None:
    exporter = InMemorySpanExporter()
    tracing.install(tracing.Recorder("lab", SimpleSpanProcessor(exporter), ratio=0.0))
    try:
        with tracing.root("GET", "server", GIVEN) as root, tracing.span("work", "internal", root.traceparent) as work:
            assert root.traceparent.endswith("-00")
            assert work.traceparent.endswith("-00")
    finally:
        tracing.close()
    assert exporter.get_finished_spans() == ()


def test_the_ratio_takes_its_share_of_traces() -> None:
    tracing.install(tracing.Recorder("lab", SimpleSpanProcessor(InMemorySpanExporter()), ratio=0.25))
    try:
        taken = sum(tracing.root("GET", "server").recorded for _ in range(2000))
    finally:
        tracing.close()
    assert 380 < taken < 620


def test_every_log_line_names_room_request_trace_span_and_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    import structlog

    kept = structlog.get_config()
    try:
        telemetry.configure("sales")
        with telemetry.about(request_id="r-1", traceparent=GIVEN, delivery_id="d-1", connection="Shop"):
            telemetry.logger("test_tracing").info("order_confirmed", order_id="o-1")
        telemetry.logger("test_tracing").info("quiet")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**kept)
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    first.pop("timestamp")
    assert first == {"room": "sales", "event": "order_confirmed", "order_id": "o-1", "level": "info",
                     "request_id": "r-1", "trace_id": TRACE, "span_id": PARENT, "delivery_id": "d-1",
                     "connection": "Shop"}
    assert set(second) == {"room", "event", "level", "timestamp"}
