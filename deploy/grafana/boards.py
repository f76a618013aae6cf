"""The dashboards, as data: `python -m deploy.grafana.boards` writes dashboards/*.json for Grafana.

Written here because a board's JSON is thirty lines of layout for each line of meaning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
_WIDTH, _HEIGHT = 12, 8


@dataclass(frozen=True)
class Panel:
    """One chart: its title, its unit as Grafana names it, and its queries with the legend of each."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def quantile(q: float, metric: str, *by: str, where: str = "") -> str:
    """Return the query of a quantile over five minutes."""
    return f"histogram_quantile({q}, sum by ({', '.join(['le', *by])}) (rate({metric}_bucket{where}[5m])))"


def rate(metric: str, *by: str, where: str = "") -> str:
    """Return the query of a rate over five minutes."""
    return f"sum by ({', '.join(by)}) (rate({metric}{where}[5m]))"


CONNECTIONS = (
    Panel("How long an order takes to its target", "s", (
        (quantile(.5, "delivery_seconds", "connection", where='{entity="order"}'), "{{connection}} half"),
        (quantile(.99, "delivery_seconds", "connection", where='{entity="order"}'), "{{connection}} 99 %"))),
    Panel("How far each target is behind", "s", (("sync_lag_seconds", "{{connection}}"),)),
    Panel("Backlog", "short", (
        ('sum by (connection, state) (backlog_deliveries{state!="dead"}) > 0', "{{connection}} {{state}}"),)),
    Panel("Dead and in doubt: for a person", "short", (
        ('backlog_deliveries{state=~"dead|in_doubt"}', "{{connection}} {{state}}"),)),
    Panel("Attempts by class", "ops", (
        (rate("adapter_call_seconds_count", "connection", "outcome"), "{{connection}} {{outcome}}"),)),
    Panel("How long a call takes, 95 %", "s", (
        (quantile(.95, "adapter_call_seconds", "connection", "action"), "{{connection}} {{action}}"),)),
    Panel("Delivered, skipped, superseded, dead", "ops", (
        (rate("deliveries_settled_total", "connection", "state"), "{{connection}} {{state}}"),)),
    Panel("Health", "short", (("connection_health == 1", "{{connection}} {{health}}"),)),
    Panel("Time since the last success", "s", (
        ("time() - connection_last_success_timestamp_seconds", "{{connection}}"),)),
    Panel("Found otherwise there by the last comparison", "percentunit", (
        ("reconciliation_drift_ratio", "{{connection}} {{entity}}"),)),
    Panel("Time since the last comparison", "s", (
        ("time() - reconciliation_last_complete_timestamp_seconds", "{{connection}} {{entity}}"),)),
    Panel("Messages of webhooks", "ops", ((rate("integrations_inbound_messages_total", "result"), "{{result}}"),)),
)

ROOMS = (
    Panel("Requests", "reqps", ((rate("gateway_request_seconds_count", "route", "method"), "{{method}} {{route}}"),)),
    Panel("Requests that failed", "reqps", (
        (rate("gateway_request_seconds_count", "route", "status", where='{status=~"5.."}'), "{{route}} {{status}}"),)),
    Panel("How long a request takes, 95 %", "s", (
        (quantile(.95, "gateway_request_seconds", "route", "method"), "{{method}} {{route}}"),)),
    Panel("Operations", "ops", ((rate("rpc_server_seconds_count", "operation"), "{{operation}}"),)),
    Panel("Operations that were refused or failed", "ops", (
        (rate("rpc_server_seconds_count", "operation", "outcome", where='{outcome!="ok"}'),
         "{{operation}} {{outcome}}"),)),
    Panel("How long an operation takes, 95 %", "s", (
        (quantile(.95, "rpc_server_seconds", "operation"), "{{operation}}"),)),
    Panel("What the gateway waits for, 95 %", "s", (
        (quantile(.95, "rpc_client_seconds", "operation"), "{{operation}}"),)),
    Panel("Events handled", "ops", ((rate("event_seconds_count", "handler", "outcome"), "{{handler}} {{outcome}}"),)),
    Panel("Oldest event that waits for the broker", "s", (("outbox_oldest_age_seconds", "{{job}}"),)),
    Panel("Events that wait, events sent", "short", (
        ("outbox_unsent", "{{job}} waiting"), (rate("outbox_events_total", "job", "result"), "{{job}} {{result}}/s"))),
    Panel("Not ready", "short", (("missing", "{{job}} {{part}}"), ("ready == 0", "{{job}} not ready"))),
    Panel("Database and disk", "bytes", (
        ("database_size_bytes", "{{job}} database"), ("disk_free_bytes", "{{job}} disk free"))),
    Panel("Memory", "bytes", (("process_resident_memory_bytes", "{{job}}"),)),
    Panel("CPU", "percentunit", (("rate(process_cpu_seconds_total[5m])", "{{job}}"),)),
)

BOARDS = {"connections": ("CRM Hub: connections", CONNECTIONS), "rooms": ("CRM Hub: rooms", ROOMS)}


def board(name: str) -> dict[str, Any]:
    """Return a dashboard as Grafana reads it."""
    title, panels = BOARDS[name]
    return {
        "uid": f"crm-hub-{name}", "title": title, "tags": ["crm-hub"], "schemaVersion": 39, "editable": False,
        "refresh": "30s", "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Source"}]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, 24 // _WIDTH)
    return {
        "id": number + 1, "type": "timeseries", "title": panel.title,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [{"refId": chr(ord("A") + n), "expr": query, "legendFormat": legend}
                    for n, (query, legend) in enumerate(panel.queries)],
    }


def text(name: str) -> str:
    """Return a dashboard's file."""
    return json.dumps(board(name), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for known in BOARDS:
        (FOLDER / f"{known}.json").write_text(text(known), encoding="utf-8")
