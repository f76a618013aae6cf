"""A process dies beside the commit of one change: a client that repeats its request ends with one record.

Rows 1 and 2 of the fault matrix. The oracle is the database, read past the hub: the records, and the events that tell
of them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import requests

from tests.service.gateway.running import Hub, running_hub
from tests.support.broker import Management
from tests.support.processes import eventually

HEALED_WITHIN_S = 5.0
"""Where a busy machine takes longer than half of this for any start, recovery may take two starts."""


@pytest.fixture(scope="module")
def hub(broker: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Identity, customers and the gateway as processes; a test starts anew what it killed."""
    with running_hub(broker, tmp_path_factory.mktemp("hub"), "identity", "customers") as running:
        yield running


def create(hub: Hub, key: str, name: str) -> requests.Response:
    return hub.post("/customers", {"name": name, "wechat_id": "once"}, headers={"Idempotency-Key": key})


def made(hub: Hub, name: str) -> int:
    """Return how many customers have a name that one test alone uses; each has one event."""
    with closing(sqlite3.connect(hub.home / "db" / "customers.sqlite")) as opened:
        ids = [id for (id,) in opened.execute("SELECT id FROM customer WHERE name = ?", [name])]
        told = [id for (id,) in opened.execute("SELECT subject FROM outbox WHERE routing_key = 'customer.created'")]
        orphans = set(told) - {id for (id,) in opened.execute("SELECT id FROM customer")}
    assert [told.count(id) for id in ids] == [1] * len(ids)
    assert orphans == set(), "an event tells of a customer that is not there"
    return len(ids)


def test_a_gateway_killed_after_the_commit_and_before_the_reply_costs_a_repeat_and_no_record(hub: Hub) -> None:
    hub.rooms["gateway"].terminate()
    began = time.monotonic()
    hub.start_gateway(HUB_FAILPOINTS="create_customer.answered=kill")
    usual = time.monotonic() - began
    with pytest.raises(requests.ConnectionError):
        create(hub, "k-1", "一次")
    hub.rooms["gateway"].wait()
    assert made(hub, "一次") == 1, "nobody was told of it, but it was made"

    restarted = time.monotonic()
    hub.start_gateway()
    repeated = create(hub, "k-1", "一次")

    assert time.monotonic() - restarted < max(HEALED_WITHIN_S, 2 * usual)
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

    assert made(hub, moment) == kept
    hub.rooms["customers"] = hub.processes.room("customers", hub.environ)
    eventually(lambda: create(hub, moment, moment).status_code == 201, timeout_s=15)
    assert made(hub, moment) == 1
