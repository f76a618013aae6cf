"""A process dies beside the commit of one change: a client that repeats its request ends with one record.

Rows 1 and 2 of the fault matrix. The oracle is the list of customers that the gateway shows afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.service.gateway.running import Hub
from tests.support.processes import Processes, eventually

NEW = {"name": "一次", "wechat_id": "once"}


@pytest.fixture
def hub(tmp_path: Path, amqp_uri: str) -> Iterator[Hub]:
    """Identity, customers and the gateway as processes."""
    running = Hub(tmp_path, amqp_uri, Processes(tmp_path))
    try:
        running.start("identity", "customers")
        yield running
    finally:
        running.processes.stop_all()


def create(hub: Hub, key: str) -> requests.Response:
    return hub.post("/customers", NEW, headers={"Idempotency-Key": key})


def names(hub: Hub) -> list[str]:
    return [customer["name"] for customer in hub.get("/customers").json()["items"]]


def test_a_gateway_killed_after_the_commit_and_before_the_reply_costs_a_repeat_and_no_record(hub: Hub) -> None:
    hub.rooms["gateway"].terminate()
    hub.start_gateway(HUB_FAILPOINTS="create_customer.answered=kill")
    with pytest.raises(requests.ConnectionError):
        create(hub, "k-1")
    killed = time.monotonic()
    hub.rooms["gateway"].wait()

    hub.start_gateway()
    repeated = create(hub, "k-1")

    assert time.monotonic() - killed < 15
    assert (repeated.status_code, repeated.headers["Idempotency-Replayed"]) == (201, "true")
    assert names(hub) == ["一次"]
    again = create(hub, "k-1")
    assert again.json() == repeated.json()


@pytest.mark.parametrize(("moment", "kept"), [("before_commit", 0), ("after_commit", 1)])
def test_a_service_killed_beside_its_commit_leaves_all_of_the_change_or_nothing(
    hub: Hub, moment: str, kept: int
) -> None:
    hub.rooms["customers"].terminate()
    hub.rooms["customers"] = hub.processes.room(
        "customers", {**hub.environ, "HUB_FAILPOINTS": f"create_customer.{moment}=kill"})
    lost = create(hub, "k-2")
    assert lost.status_code in (503, 504), lost.text
    assert hub.rooms["customers"].wait() == -9

    hub.rooms["customers"] = hub.processes.room("customers", hub.environ)
    assert len(names(hub)) == kept
    eventually(lambda: create(hub, "k-2").status_code == 201, timeout_s=15)
    assert names(hub) == ["一次"]
