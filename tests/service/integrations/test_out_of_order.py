"""Events arrive as they like: twice, late, and with a snapshot of everything in between."""

from __future__ import annotations

import random

import pytest

from chassis.database import new_id
from services.integrations.models import Record
from tests.service.integrations.conftest import CREATED, UPDATED, Hub
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually

SNAPSHOT = "customers.customer.snapshot"


def test_a_snapshot_does_not_swallow_the_change_that_comes_after_it(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    hub.tell(SNAPSHOT, id := new_id(), 1, name="老客户")
    assert hub.states(id) == []

    hub.tell(CREATED, id, 1, name="老客户")

    hub.until(id, "delivered")
    assert [row.body["name"] for row in target.of("customer")] == ["老客户"]
    hub.tell(SNAPSHOT, id, 1, name="老客户")
    hub.tell(CREATED, id, 1, name="老客户")
    hub.until(id, "delivered", "skipped")
    assert len(target.calls("POST", "PUT")) == 1


def test_a_snapshot_after_the_change_says_nothing_new(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    id = hub.customer()
    hub.until(id, "delivered")

    hub.tell(SNAPSHOT, id, 1, name="v1")

    assert hub.states(id) == ["delivered"]
    assert hub.ledger(connection_id).accepted == 1


def test_a_snapshot_that_runs_ahead_leaves_the_next_change_to_travel(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    id = hub.customer()
    hub.until(id, "delivered")

    hub.tell(SNAPSHOT, id, 3, name="v3")
    hub.tell(UPDATED, id, 2, name="v2")
    hub.until(id, "delivered", "delivered")
    hub.tell(UPDATED, id, 3, name="v3")

    hub.until(id, "delivered", "delivered", "skipped")
    [row] = target.of("customer")
    assert (row.body["name"], row.source_version) == ("v3", 3)
    [record] = hub.rows(Record, Record.id == id)
    assert (record.version, record.routed_version) == (3, 3)


@pytest.mark.parametrize("seed", range(6))
def test_in_whatever_order_events_come_the_target_ends_with_one_record_of_the_newest_version(
    hub: Hub, target: FakeTarget, seed: int
) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    chance = random.Random(seed)
    ids = [new_id() for _ in range(5)]
    told = [(kind, id, version) for id in ids for kind, version in (
        (CREATED, 1), (UPDATED, 2), (UPDATED, 3), (SNAPSHOT, chance.randint(1, 3)), (SNAPSHOT, 3))]
    told += chance.sample(told, 5)
    chance.shuffle(told)

    for kind, id, version in told:
        hub.tell(kind, id, version, name=f"v{version}")

    eventually(lambda: hub.ledger(connection_id).open == 0, 15)
    there = {row.key: (row.body["name"], row.source_version) for row in target.of("customer")}
    assert there == {id: ("v3", 3) for id in ids}
    assert len(target.of("customer")) == len(ids)
    assert hub.ledger(connection_id).balanced
