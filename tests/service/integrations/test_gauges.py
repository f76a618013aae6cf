"""How far a target is behind, as an operator is told."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any, cast

import sqlalchemy as sa

from chassis.database import utcnow
from services.integrations.models import Connection, Delivery
from services.integrations.queries.gauges import ConnectionGauges
from tests.service.integrations.conftest import Hub
from tests.support.fake_target import FakeTarget


def told(hub: Hub) -> dict[tuple[str, ...], float]:
    """What a scrape reads now: the gauge's name and its labels, then the value."""
    gauges = ConnectionGauges(cast(Any, SimpleNamespace(db=hub.db)))
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
