"""A real process exports its spans, also the last ones; a collector that is away holds up nothing."""

from __future__ import annotations

import time

from tests.service.chassis.laboratory import Lab, eventually
from tests.support.collector import collecting
from tests.support.processes import free_port

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_the_last_spans_of_a_process_leave_before_it_ends(lab: Lab) -> None:
    with collecting() as collector:
        process = lab.process(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        lab.add("traced", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        assert process.terminate() == 0
        names = {span.name: span for span in collector.spans(TRACE)}
    assert names["lab.add_note"].service == "crm-hub-lab"
    assert {"create lab.note.added", "publish lab.note.added"} <= set(names)


def test_a_collector_that_is_away_holds_up_neither_requests_nor_the_end(lab: Lab) -> None:
    process = lab.process(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}", OTEL_BSP_SCHEDULE_DELAY="50")
    for number in range(5):
        lab.add(f"note {number}", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    eventually(lambda: "export" in process.log(), 20)  # it has tried, and says so
    began = time.monotonic()
    lab.add("one more", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    assert time.monotonic() - began < 2
    assert process.terminate(15) == 0
    assert "Traceback" not in process.log(), process.log()[-1500:]
