"""How far a target is behind, as an operator is told."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any, cast

import sqlalchemy as sa

from chassis.database import utcnow
from chassis.gauges import Gauges
from services.integrations.models import Connection, Delivery, Run
from services.integrations.queries.gauges import ConnectionGauges, ReconciliationGauges
from tests.service.integrations.conftest import Hub
from tests.support.fake_target import FakeTarget


def told(hub: Hub, kind: type[Gauges] = ConnectionGauges) -> dict[tuple[str, ...], float]:
    """What a scrape reads now: the gauge's name and its labels, then the value."""
    gauges = kind(cast(Any, SimpleNamespace(db=hub.db)))
    return {(name, *labels[1:]): value for name, labels, value in gauges.read()}


def set_back(hub: Hub, model: Any, column: str, seconds: float) -> None:
    with hub.db.write() as session:
        session.execute(sa.update(model).values({column: utcnow() - dt.timedelta(seconds=seconds)}))


def test_a_target_is_as_far_behind_as_its_oldest_open_delivery_is_old(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    assert told(hub)["sync_lag_seconds",] == 0

    hub.customer()
    set_back(hub, Delivery, "created_at", 90)
    hub.customer()

    seen = told(hub)
    assert 90 <= seen["sync_lag_seconds",] < 120
    assert (seen["backlog_deliveries", "pending"], seen["backlog_deliveries", "dead"]) == (2, 0)


def test_a_record_that_changes_all_the_time_does_not_hide_how_long_its_target_has_been_away(
    hub: Hub, target: FakeTarget
) -> None:
    hub.connect(target, "customer")
    hub.customer()
    set_back(hub, Connection, "first_failure_at", 7200)
    assert 7200 <= told(hub)["sync_lag_seconds",] < 7300


def test_a_target_to_which_nothing_has_to_go_is_not_behind_whatever_has_failed_before(
    hub: Hub, target: FakeTarget
) -> None:
    hub.connect(target, "customer")
    hub.run()
    hub.until(id := hub.customer(), "delivered")
    set_back(hub, Connection, "first_failure_at", 7200)

    seen = told(hub)
    assert seen["sync_lag_seconds",] == 0
    assert seen["connection_last_success_timestamp_seconds",] > 0
    assert hub.states(id) == ["delivered"]


def test_a_target_that_was_compared_tells_how_far_it_was_off_and_since_when(hub: Hub, target: FakeTarget) -> None:
    connection_id, now = hub.connect(target, "customer", adapter="fake_listed"), utcnow()
    with hub.db.write() as session:
        for n, (state, counts) in enumerate([("completed", {"compared": 10}), ("completed", {
                "compared": 50, "mismatch": 2, "missing_remote": 3, "known": 9}), ("failed", {})]):
            ended = now - dt.timedelta(hours=2 - n)
            session.add(Run(connection_id=connection_id, entity="customer", kind="reconcile", state=state, filter={},
                            options={"every_h": 24}, position={}, counts=counts, created_by="u", due_at=now,
                            created_at=now, ended_at=ended))
            session.flush()

    seen = told(hub, ReconciliationGauges)
    assert seen == {
        ("reconciliation_drift_ratio", "customer"): 0.1,
        ("reconciliation_last_complete_timestamp_seconds", "customer"): (now - dt.timedelta(hours=1)).timestamp(),
        ("reconciliation_interval_seconds", "customer"): 86_400.0}
