"""A target that is down: no call goes there, nothing is used up, nobody else waits, and it heals by itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from chassis.database import utcnow
from chassis.outbox import OUTBOX
from contracts.connections import ConnectionHealth
from contracts.schema import unpack
from services.integrations.domain import breaker
from services.integrations.domain.breaker import Breaker
from services.integrations.models import Connection, Cursor
from services.integrations.operations import connections, pulls, runs
from services.integrations.queries import rounds
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually


@pytest.fixture
def other() -> Any:
    from tests.support.fake_target import running

    yield from running()


@pytest.fixture(autouse=True)
def _opens_at_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three failures will do; the limits themselves are the unit tests' matter."""
    monkeypatch.setattr(breaker, "LEAST_CALLS", 3)


def told(hub: Hub) -> list[tuple[str, str | None]]:
    """What was announced of the connections' health, in order: (health, reason)."""
    import json

    with hub.db.read() as session:
        bodies = session.scalars(sa.select(OUTBOX.c.body).where(OUTBOX.c.routing_key == "connection.health_changed")
                                 .order_by(OUTBOX.c.id))
        data = [unpack(ConnectionHealth, json.loads(body)["data"]) for body in bodies]
    return [(one["health"], one["reason"]) for one in data]


def put(hub: Hub, connection_id: str, **values: Any) -> None:
    with hub.db.write() as session:
        session.execute(sa.update(Connection).where(Connection.id == connection_id).values(values))


def let_it_be_checked(hub: Hub, connection_id: str) -> None:
    """Let the wait of an open breaker pass."""
    put(hub, connection_id, breaker_open_until=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


def down(hub: Hub, target: FakeTarget, connection_id: str, records: int = 4) -> list[str]:
    """Let a target fail until its breaker is open; return the records that wait for it."""
    target.fail(times=10_000, status=500)
    ids = [hub.customer() for _ in range(records)]
    eventually(lambda: hub.connection(connection_id).health == "open")
    eventually(lambda: not any(row.state == "leased" for id in ids for row in hub.deliveries(id)))
    return ids


def test_a_target_that_is_down_is_left_alone_uses_nothing_up_and_takes_all_once_when_it_is_back(
    hub: Hub, target: FakeTarget, other: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    elsewhere = hub.connect(other, "customer")
    hub.run()
    early = down(hub, target, connection_id)
    asked = len(target.seen)
    attempts = {id: hub.deliveries(id)[0].attempts for id in early}
    late = [hub.customer() for _ in range(20)]
    hub.hurry()

    eventually(lambda: hub.ledger(elsewhere).delivered == len(early) + len(late))
    hub.quiet(1.2)
    assert len(target.seen) == asked
    assert {id: hub.deliveries(id)[0].attempts for id in early} == attempts
    assert {hub.deliveries(id)[0].state for id in late} == {"pending"}

    target.faults.clear()
    let_it_be_checked(hub, connection_id)
    eventually(lambda: hub.ledger(connection_id).delivered == len(early) + len(late))
    assert {id: hub.deliveries(id)[0].attempts for id in early} == attempts
    assert sorted(row.key for row in target.of("customer")) == sorted(early + late)
    assert hub.connection(connection_id).health == "ok"
    assert hub.ledger(connection_id).balanced
    assert [health for health, _ in told(hub)] == ["open", "half_open", "ok"]
    assert "down since" in (told(hub)[0][1] or "")


def test_a_check_that_fails_doubles_the_wait_and_no_delivery_is_tried(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    down(hub, target, connection_id)
    writes = len(target.calls("POST"))

    let_it_be_checked(hub, connection_id)
    eventually(lambda: hub.connection(connection_id).open_count == 2)

    connection = hub.connection(connection_id)
    until = connection.breaker_open_until
    assert until is not None
    assert 50 < (until - dt.datetime.now(dt.UTC)).total_seconds() <= 60
    assert connection.health == "open"
    assert len(target.calls("POST")) == writes


def test_calls_come_back_one_by_one(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    down(hub, target, connection_id, records=12)
    hub.hurry()
    target.faults.clear()
    target.fail(method="POST", times=8, delay_s=0.25)
    target.seen.clear()

    let_it_be_checked(hub, connection_id)
    eventually(lambda: hub.ledger(connection_id).delivered == 12)

    at = [seen.at for seen in target.calls("POST")]
    crowds = [sum(1 for one in at[:8] if began <= one < began + 0.2) for began in at[:8]]
    assert crowds[:2] == [1, 1]
    assert max(crowds[2:4]) == 2
    assert max(crowds) <= 4


def test_a_restart_forgets_nothing(make_hub: Callable[..., Hub], target: FakeTarget) -> None:
    first = make_hub()
    connection_id = first.connect(target, "customer")
    first.run()
    target.fail(times=10_000, status=500)
    first.until(first.customer(), "retry_wait")
    first.until(first.customer(), "retry_wait")
    first.close()
    second = make_hub()
    second.run()

    second.customer()
    eventually(lambda: second.connection(connection_id).health == "open")

    asked = len(target.seen)
    third = make_hub()
    third.run()
    third.hurry()
    third.quiet(1.2)
    assert len(target.seen) == asked


def test_two_processes_check_a_target_once(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    hub.run(hub.new_engine())
    down(hub, target, connection_id)
    target.faults.clear()
    target.fail(entity="ping", delay_s=1.5, status=500)
    target.seen.clear()

    let_it_be_checked(hub, connection_id)
    eventually(lambda: hub.connection(connection_id).open_count == 2)

    assert [seen.path for seen in target.seen] == ["/ping"]


def test_an_outage_of_days_is_told_of_again_and_never_becomes_a_pause(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    down(hub, target, connection_id)
    name = hub.connection(connection_id).name

    def alerts(after_s: int) -> float:
        labels = {"connection": name, "reason": f"down_{after_s}_s"}
        return REGISTRY.get_sample_value("integrations_connection_alerts_total", labels) or 0.0

    for minutes, after_s in ((16, 900), (61, 3600), (60 * 25, 86_400), (60 * 24 * 30, 86_400)):
        put(hub, connection_id, breaker_opened_at=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes))
        eventually(lambda after_s=after_s: alerts(after_s) == 1)
    hub.quiet(1.2)

    assert alerts(86_400) == 1
    assert len([health for health, _ in told(hub) if health == "open"]) == 4
    assert hub.connection(connection_id).desired_state == "active"
    target.faults.clear()
    hub.hurry()
    let_it_be_checked(hub, connection_id)
    eventually(lambda: hub.ledger(connection_id).delivered == 4)


@on_sqlite
def test_a_half_open_connection_that_never_has_anything_to_do_is_closed_by_another_check(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    now = utcnow()
    with hub.db.write() as session:
        connection = session.get_one(Connection, connection_id)
        opened = Breaker(open_until=now, opened_at=now, openings=1)
        connection.breaker = opened.checked(reachable=True, now=now - dt.timedelta(seconds=70))
        connection.health = "half_open"

    hub.run()

    eventually(lambda: hub.connection(connection_id).health == "ok")
    assert hub.connection(connection_id).breaker == Breaker()


@on_sqlite
def test_no_poll_and_no_run_goes_beside_the_one_delivery_of_a_half_open_connection(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    hub.route(connection_id, "product", "pull")
    hub.start_run(connection_id, "dry_run")

    def due() -> tuple[bool, bool]:
        with hub.db.read() as session:
            return pulls.any_due(session, utcnow()), runs.any_due(session, utcnow())

    assert due() == (True, True)
    for step in range(len(breaker.RAMP)):
        put(hub, connection_id, breaker_step=step)
        assert due() == (False, False)


@on_sqlite
def test_a_half_open_connection_is_checked_again_though_something_waits_that_is_not_sent(
    hub: Hub, target: FakeTarget
) -> None:
    """What waits may stand behind a dead fact for weeks; the polls and the runs must not."""
    connection_id, now = hub.connect(target, "customer"), utcnow()
    hub.customer()
    with hub.db.write() as session:
        opened = Breaker(open_until=now, opened_at=now, openings=1)
        session.get_one(Connection, connection_id).breaker = opened.checked(reachable=True, now=now)

    with hub.db.read() as session:
        early, late = (rounds.due(session, now + dt.timedelta(seconds=s)) for s in (5, 70))
    assert (early.to_send, early.to_check) == ({connection_id}, set())
    assert (late.to_send, late.to_check) == (set(), {connection_id})


@on_sqlite
def test_the_pause_that_a_target_asked_for_is_over_though_there_is_nothing_to_send(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    with hub.db.write() as session:
        connection = session.get_one(Connection, connection_id)
        connection.health, connection.throttled_until = "throttled", utcnow() + dt.timedelta(seconds=0.5)

    hub.run()

    eventually(lambda: hub.connection(connection_id).health == "ok")
    assert hub.connection(connection_id).throttled_until is None


def test_a_half_open_connection_with_nothing_more_to_do_is_closed_after_a_minute(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    down(hub, target, connection_id)
    target.faults.clear()
    hub.hurry()
    let_it_be_checked(hub, connection_id)
    eventually(lambda: hub.ledger(connection_id).delivered == 4)
    assert hub.connection(connection_id).health == "half_open"

    put(hub, connection_id, last_success_at=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=61))

    eventually(lambda: hub.connection(connection_id).health == "ok")


def test_whoever_has_repaired_a_target_need_not_wait(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    down(hub, target, connection_id)
    target.faults.clear()
    hub.hurry()

    with hub.db.write() as session:
        connections.resume(session, {"id": connection_id}, by=ADMIN)

    eventually(lambda: hub.ledger(connection_id).delivered == 4)


def test_a_check_whose_credential_is_refused_is_for_a_person(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    down(hub, target, connection_id)
    target.faults.clear()
    target.accepted_key = "changed overnight"

    let_it_be_checked(hub, connection_id)

    eventually(lambda: hub.connection(connection_id).health == "auth_failed")
    assert hub.connection(connection_id).pause_code == "auth"


def test_refusals_show_that_a_target_is_there(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    target.fail(method="POST", times=8, status=422)

    for id in [hub.customer() for _ in range(8)]:
        hub.until(id, "dead")

    assert hub.connection(connection_id).health == "ok"


def test_polls_that_fail_open_it_too_and_no_poll_goes_to_one_that_is_open(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "product", direction="pull")
    target.fail(times=10_000, status=500)
    hub.run()

    def due() -> bool:
        with hub.db.write() as session:
            session.execute(sa.update(Cursor).values(due_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))
        return hub.connection(connection_id).health == "open"

    eventually(due, 15)
    asked = len(target.seen)
    due()
    hub.quiet(1.5)
    assert len(target.seen) == asked
