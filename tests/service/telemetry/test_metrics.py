"""What Prometheus is told by a whole hub: every metric that an alert or a dashboard reads, and no label without end."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from chassis import gauges
from deploy.grafana import boards
from tests.house.test_alerts import RULES
from tests.service.telemetry.conftest import Hub
from tests.support.processes import eventually
from tests.support.promql import metrics_in


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was read before is told again."""
    monkeypatch.setattr(gauges, "KEEP_S", 0.0)


def served(hub: Hub) -> set[str]:
    """Every name that some room serves, with what a histogram's and a counter's samples are called."""
    names: set[str] = set()
    for room in hub.rooms.running:
        for family in text_string_to_metric_families(hub.metrics(room)):
            ends = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family.type, ("",))
            names |= {f"{family.name}{end}" for end in ends}
    return names


def samples(hub: Hub, room: str, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name, by the values of their labels in the order of the labels' names."""
    return {tuple(sample.labels.values()): sample.value
            for family in text_string_to_metric_families(hub.metrics(room)) for sample in family.samples
            if sample.name == name}


def read_by_rules_and_boards() -> Iterator[tuple[str, str]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for rule in rules:
        yield from ((rule.get("record") or rule["alert"], name) for name in metrics_in(rule["expr"]) - recorded)
    for board in boards.BOARDS:
        for panel in boards.board(board)["panels"]:
            for target in panel["targets"]:
                yield from ((panel["title"], name) for name in metrics_in(target["expr"]))


def test_every_metric_that_an_alert_or_a_dashboard_reads_is_served_by_a_room(hub: Hub) -> None:
    names = served(hub)  # once: parsing it again for each name outlasted the heartbeat of the broker
    assert {(reader, name) for reader, name in read_by_rules_and_boards() if name not in names} == set()


def test_a_request_is_counted_by_its_route_its_operation_and_never_by_an_id(hub: Hub) -> None:
    for number in range(3):
        status(hub, f"/api/v1/customers/01890000-0000-7000-8000-00000000000{number}")
    counted = samples(hub, "gateway", "gateway_request_seconds_count")
    assert counted["GET", "/api/v1/customers/{id}", "404"] >= 3
    assert samples(hub, "customers", "rpc_server_seconds_count")["customers.get_customer", "not_found"] >= 3
    assert samples(hub, "gateway", "rpc_client_seconds_count")["customers.get_customer", "not_found"] >= 3
    assert "01890000" not in hub.metrics("gateway")


def test_a_method_or_path_that_a_client_makes_up_makes_no_series_of_its_own(hub: Hub) -> None:
    for number in range(3):
        status(hub, f"/made-up/{number}", method=f"BREW{number}")
    shown = hub.metrics("gateway")
    assert "BREW" not in shown
    assert "made-up" not in shown
    assert any(method == "other" for method, _, _ in samples(hub, "gateway", "gateway_request_seconds_count"))


def test_a_connection_tells_its_backlog_by_state_how_far_it_is_behind_and_its_attempts_by_class(hub: Hub) -> None:
    from tests.service.counts.hub import CUSTOMER

    hub.door.ask("POST", "/customers", CUSTOMER)
    eventually(lambda: samples(hub, "integrations", "deliveries_settled_total").get(
        ("Shop", "customer", "delivered"), 0) >= 1, 20)
    assert samples(hub, "integrations", "adapter_call_seconds_count")["write", "bench", "Shop", "ok"] >= 1
    assert samples(hub, "integrations", "delivery_seconds_count")["Shop", "customer"] >= 1
    eventually(lambda: samples(hub, "integrations", "sync_lag_seconds") == {("Shop",): 0.0}, 20)
    backlog = samples(hub, "integrations", "backlog_deliveries")
    assert backlog["Shop", "dead"] == backlog["Shop", "pending"] == 0
    assert samples(hub, "integrations", "connection_health")["bench", "Shop", "ok"] == 1
    assert samples(hub, "integrations", "connection_last_success_timestamp_seconds")["Shop",] > 0


@pytest.mark.parametrize("room", ["identity", "customers", "sales", "integrations"])
def test_a_room_tells_how_its_database_outbox_and_inbox_stand(hub: Hub, room: str) -> None:
    eventually(lambda: samples(hub, room, "outbox_oldest_age_seconds") == {(): 0.0}, 20)
    for name in ("database_up", "relay_connected", "ready"):
        assert samples(hub, room, name) == {(): 1.0}, name
    assert samples(hub, room, "database_size_bytes")[()] > 10_000
    assert 0 < samples(hub, room, "disk_free_bytes")[()] < samples(hub, room, "disk_size_bytes")[()]


def status(hub: Hub, path: str, method: str = "GET") -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{hub.door.port}{path}", method=method,
                                     headers={"Authorization": f"Bearer {hub.door.token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
