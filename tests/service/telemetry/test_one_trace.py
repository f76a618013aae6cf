"""One order, from the click to the target, is one trace; a retry links to the call that it repeats."""

from __future__ import annotations

from bench.target import PRODUCT
from tests.service.counts.hub import CUSTOMER
from tests.service.telemetry.conftest import Hub
from tests.support.collector import Span
from tests.support.processes import eventually

TRACE, CLICK = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONFIRMED = "sales.order.confirmed"


def test_an_order_confirmed_is_one_trace_to_the_target_and_a_retry_links_to_the_call_before(hub: Hub) -> None:
    customer = hub.door.ask("POST", "/customers", {**CUSTOMER, "name": "Traced"})["id"]
    lines = [{"sku": PRODUCT["sku"], "quantity": "1"}]
    order = hub.door.ask("POST", "/orders", {"customer_id": customer, "currency": "CNY", "lines": lines},
                         Idempotency_Key="draft-traced-1")["id"]
    hub.target.refuse = 1

    hub.door.ask("POST", f"/orders/{order}/confirm", Idempotency_Key="confirm-traced-1", If_Match='"1"',
                 traceparent=f"00-{TRACE}-{CLICK}-01")
    eventually(lambda: len(hub.target.orders()) == 1, 20)
    eventually(lambda: hub.hurry() or len(hub.target.orders()) == 2, 20)  # type: ignore[func-returns-value]
    eventually(lambda: "publish integrations.delivery.settled" in {s.name for s in hub.collector.spans(TRACE)}, 20)

    spans = hub.collector.spans(TRACE)
    served = one(spans, "POST /api/v1/orders/{id}/confirm", "server")
    assert served.parent == CLICK
    asked = one(spans, "sales.confirm_order", "client", within=served)
    answered = one(spans, "sales.confirm_order", "server", within=asked)
    row = one(spans, f"create {CONFIRMED}", "producer", within=answered)
    one(spans, f"publish {CONFIRMED}", "producer", within=row)
    heard = next(s for s in spans if s.parent == row.id and s.attributes.get("hub.handler") == "order_confirmed")
    assert heard.kind == "consumer"
    first, second = sorted((s for s in spans if s.name == "write order"), key=lambda s: s.attributes["hub.attempt"])
    assert (first.parent, second.parent) == (heard.id, heard.id)
    assert (first.links, second.links) == ((), (first.id,))
    assert (first.failed, second.failed) == (True, False)
    assert first.attributes["error.type"] == "transient"
    told = [one(spans, "POST", "client", within=call).id for call in (first, second)]
    assert [seen.headers["traceparent"] for seen in hub.target.orders()] == [f"00-{TRACE}-{id}-01" for id in told]
    one(spans, "create integrations.delivery.settled", "producer", within=second)


def test_no_span_of_a_trace_is_without_its_parent_and_none_names_a_secret_or_a_record(hub: Hub) -> None:
    spans = hub.collector.spans()
    for trace in {span.trace for span in spans}:
        there = {span.id for span in spans if span.trace == trace}
        astray = [span.name for span in spans if span.trace == trace and span.parent not in {*there, CLICK, ""}]
        assert astray == []
    assert {span.service for span in spans} == {"crm-hub-hub"}
    shown = " ".join(f"{span.name} {sorted(span.attributes.items())}" for span in spans)
    assert "Traced" not in shown
    assert hub.door.token not in shown


def one(spans: list[Span], name: str, kind: str, within: Span | None = None) -> Span:
    """The one span of that name and kind, and parent."""
    [found] = [span for span in spans if (span.name, span.kind) == (name, kind)
               and (within is None or span.parent == within.id)]
    return found
