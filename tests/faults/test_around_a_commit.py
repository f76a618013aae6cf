"""A process dies beside the commit of one change: a client that repeats its request ends with one record.

Rows 1 and 2 of the fault matrix. The oracle is the list of customers that the gateway shows afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests

from tests.service.gateway.running import Hub, running_hub
from tests.support.broker import Management
from tests.support.processes import eventually


@pytest.fixture(scope="module")
def hub(broker: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Identity, customers and the gateway as processes; a test starts anew what it killed."""
    with running_hub(broker, tmp_path_factory.mktemp("hub"), "identity", "customers") as running:
        yield running


def create(hub: Hub, key: str, name: str) -> requests.Response:
    return hub.post("/customers", {"name": name, "wechat_id": "once"}, headers={"Idempotency-Key": key})


def made(hub: Hub, name: str) -> int:
    """Return how many customers have a name that one test alone uses."""
    return [customer["name"] for customer in hub.get("/customers").json()["items"]].count(name)


def test_a_gateway_killed_after_the_commit_and_before_the_reply_costs_a_repeat_and_no_record(hub: Hub) -> None:
    hub.rooms["gateway"].terminate()
    hub.start_gateway(HUB_FAILPOINTS="create_customer.answered=kill")
    with pytest.raises(requests.ConnectionError):
        create(hub, "k-1", "一次")
    killed = time.monotonic()
    hub.rooms["gateway"].wait()

    hub.start_gateway()
    repeated = create(hub, "k-1", "一次")

    assert time.monotonic() - killed < 15
    assert (repeated.status_code, repeated.headers["Idempotency-Replayed"]) == (201, "true")
    assert made(hub, "一次") == 1
    again = create(hub, "k-1", "一次")
    assert again.json() == repeated.json()


@pytest.mark.parametrize(("moment", "kept"), [("before_commit", 0), ("after_commit", 1)])
def test_a_service_killed_beside_its_commit_leaves_all_of_the_change_or_nothing(
    hub: Hub, moment: str, kept: int
) -> None:
    hub.rooms["customers"].terminate()
    hub.rooms["customers"] = hub.processes.room(
        "customers", {**hub.environ, "HUB_FAILPOINTS": f"create_customer.{moment}=kill"})
    lost = create(hub, moment, moment)
    assert lost.status_code in (503, 504), lost.text
    assert hub.rooms["customers"].wait() == -9

    hub.rooms["customers"] = hub.processes.room("customers", hub.environ)
    assert made(hub, moment) == kept
    eventually(lambda: create(hub, moment, moment).status_code == 201, timeout_s=15)
    assert made(hub, moment) == 1
