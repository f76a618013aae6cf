"""Alerts, dashboards and metrics: each alert has its runbook, each board is as written, each metric is documented.

That every metric they name is served by a room is seen where rooms run: tests/service/telemetry.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promql import balanced

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"


def rules() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_what_is_wrong_and_leads_to_its_runbook(name: str) -> None:
    alert = ALERTS[name]
    assert alert["annotations"]["summary"]
    assert alert["labels"]["severity"] in {"page", "ticket"}
    runbook = ROOT / alert["annotations"]["runbook"]
    assert runbook.exists(), "write the runbook"


def test_every_rule_is_one_that_prometheus_reads() -> None:
    promtool = shutil.which("promtool")
    if promtool:
        subprocess.run([promtool, "check", "rules", str(RULES)], check=True, capture_output=True)
    for rule in rules():
        assert set(rule) <= {"record", "alert", "expr", "for", "labels", "annotations"}
        assert balanced(rule["expr"]), rule["expr"]
    names = [rule.get("record") or rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))


def test_prometheus_scrapes_every_room_at_the_address_where_the_hub_starts_it() -> None:
    from hub.installation import Installation

    hub = Installation({})
    config = yaml.safe_load((RULES.parent / "prometheus.yml").read_text(encoding="utf-8"))
    scraped = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert scraped == {room: [hub.health_address(room)] for room in hub.rooms}


@pytest.mark.parametrize("name", importlib.import_module("deploy.grafana.boards").BOARDS)
def test_a_dashboard_is_as_its_source_says_and_no_panel_hides_another(name: str) -> None:
    from deploy.grafana import boards

    written = (boards.FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert written == boards.text(name), "run `make examples`"
    panels = json.loads(written)["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len({panel["id"] for panel in panels}) == len(panels)
    assert all(balanced(target["expr"]) for panel in panels for target in panel["targets"])


def test_the_page_of_the_metrics_is_what_the_code_says() -> None:
    asked = subprocess.run([sys.executable, "-W", "ignore", "-m", "hub.metrics_reference"], cwd=ROOT, check=True,
                           capture_output=True, text=True)
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert page == asked.stdout, "run `make examples`"
