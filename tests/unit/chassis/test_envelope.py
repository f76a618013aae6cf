"""The CloudEvents envelope, and what is no envelope."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from contracts.envelope import Envelope, MalformedEnvelope

EVENT = Envelope(id="e-1", source="/sales", type="sales.order.confirmed", subject="o-1", entityversion=7,
                 time=dt.datetime(2026, 11, 22, 8, tzinfo=dt.UTC), actor="u-1", data={"total": "1.00"})


def wire(**changes: Any) -> dict[str, Any]:
    made = EVENT.to_wire() | changes
    return {key: value for key, value in made.items() if value is not ...}


def test_an_event_survives_the_wire() -> None:
    assert Envelope.from_wire(json.loads(json.dumps(EVENT.to_wire()))) == EVENT
    assert (EVENT.service, EVENT.routing_key) == ("sales", "order.confirmed")


def test_what_travels_is_cloudevents_and_leaves_out_empty_extensions() -> None:
    assert wire()["specversion"] == "1.0"
    assert wire()["datacontenttype"] == "application/json"
    assert "traceparent" not in wire()
    assert all(name.isalnum() and name.islower() for name in wire())  # attribute names of CloudEvents


def test_attributes_of_a_newer_sender_are_ignored() -> None:
    assert Envelope.from_wire(wire(dataschema="x", novelty=1)) == EVENT


@pytest.mark.parametrize("bad", [
    None, [], "text", {}, wire(specversion="0.3"), wire(id=...), wire(id=""), wire(id=7), wire(type="confirmed"),
    wire(type="sales.Order.confirmed"), wire(subject=None), wire(time="yesterday"), wire(time="2026-11-22T08:00:00"),
    wire(entityversion="7"), wire(entityversion=True), wire(entityversion=-1), wire(schemaversion=None),
    wire(data=[1]), wire(data=...),
], ids=str)
def test_what_is_no_event_of_ours_is_refused_for_good(bad: Any) -> None:
    with pytest.raises(MalformedEnvelope):
        Envelope.from_wire(bad)
