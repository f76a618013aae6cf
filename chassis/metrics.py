"""What every room counts and times, for Prometheus: served at `/metrics` of the health address.

A label has few values, known beforehand: an operation, a kind of event, an error's code; never an id or what a client
has chosen. `docs/reference/metrics.md` is written from these words.
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

SECONDS = (.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30)
"""Buckets of what a person or a worker waits for."""

OK = "ok"
"""The outcome of what did not fail; otherwise it is the error's code."""

RPC_SERVER = Histogram(
    "rpc_server_seconds", "Time from a request's arrival at its service to the answer, queueing for a worker included.",
    ["operation", "outcome"], buckets=SECONDS)
RPC_CLIENT = Histogram(
    "rpc_client_seconds", "Time that the gateway waited for a service's answer.", ["operation", "outcome"],
    buckets=SECONDS)
EVENTS = Histogram(
    "event_seconds", "Time that a handler took for one event; outcome is ok, or the kind of the error.",
    ["event", "handler", "outcome"], buckets=SECONDS)
PUBLISHED = Counter(
    "outbox_events", "Events given to the broker: confirmed, or refused and kept for another try.", ["event", "result"])
