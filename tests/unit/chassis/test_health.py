"""The health pages of a process: alive is not ready, and ready says what is missing."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chassis.context import Verifier, make_signing_key
from chassis.health import Health


@pytest.fixture
def health() -> Iterator[Health]:
    served = Health()
    served.serve("127.0.0.1:0")
    yield served
    served.close()


def ask(health: Health, path: str) -> tuple[int, str]:
    host, port = health.address
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_process_without_a_broker_is_alive_and_not_ready_and_says_what_is_missing(health: Health) -> None:
    health.report("broker", "the broker is away")
    health.add("migrations", lambda: "run: hub migrate sales")
    assert ask(health, "/livez") == (200, '{"status": "alive"}')
    status, body = ask(health, "/readyz")
    assert status == 503
    assert json.loads(body)["missing"] == {"broker": "the broker is away", "migrations": "run: hub migrate sales"}


def test_a_check_that_fails_itself_makes_the_process_unready_and_not_dead(health: Health) -> None:
    def broken() -> str | None:
        raise RuntimeError("secret")

    health.add("database", broken)
    status, body = ask(health, "/readyz")
    assert status == 503
    assert "secret" not in body
    assert ask(health, "/livez")[0] == 200


def test_the_metrics_are_what_prometheus_reads(health: Health) -> None:
    status, body = ask(health, "/metrics")
    assert status == 200
    assert [one.name for one in text_string_to_metric_families(body)]
    assert "process_cpu_seconds_total" in body


def test_a_room_without_a_key_to_check_its_callers_with_is_not_ready_until_there_is_one(tmp_path: Path) -> None:
    keys = tmp_path / "tokens"
    verifier = Verifier(keys, reread_every_s=0.0)
    assert str(keys) in (verifier.missing() or "")
    make_signing_key(keys, tmp_path / "signing.pem")
    assert verifier.missing() is None
