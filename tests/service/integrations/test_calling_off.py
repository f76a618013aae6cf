"""A person calls a waiting delivery off, or takes a connection out of use."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from chassis.database import utcnow
from contracts.errors import Conflict, InvalidTransition
from services.integrations.models import Delivery
from services.integrations.operations import cancelling, connections, intake, replays
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_gauges import told
from tests.service.integrations.test_invariants import outcome, settle, take
from tests.service.integrations.test_retrying import retry
from tests.support.fake_target import FakeTarget


def cancel(hub: Hub, id: str, reason: str = "") -> Delivery:
    with hub.db.write() as session:
        return cancelling.cancel(session, {"id": id, "reason": reason}, utcnow(), by=ADMIN)


def test_a_delivery_that_waits_is_called_off_and_the_next_change_goes(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    [waiting] = hub.deliveries(id)
    assert cancel(hub, waiting.id, "entered there by hand").state == "cancelled"
    assert cancel(hub, waiting.id).last_error == "entered there by hand"
    assert take(hub, connection_id) == []
    hub.customer(2, id)
    hub.run()
    hub.until(id, "cancelled", "delivered")
    ledger = hub.ledger(connection_id)
    assert (ledger.accepted, ledger.cancelled, ledger.delivered, ledger.balanced) == (2, 1, 1, True)


def dead(hub: Hub, connection_id: str) -> Delivery:
    """Take what is due, and have it refused for good."""
    [job] = take(hub, connection_id)
    with hub.db.write() as session:
        session.execute(sa.update(Delivery).where(Delivery.id == job.delivery_id)
                        .values(state="dead", settled_at=utcnow(), lease_owner=None, lease_until=None))
        return session.get_one(Delivery, job.delivery_id)


def test_a_delivery_whose_replay_was_called_off_can_be_sent_again(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    refused = dead(hub, connection_id)
    cancel(hub, retry(hub, refused).id)
    assert told(hub)["backlog_deliveries", "dead"] == 1

    cancel(hub, (second := retry(hub, refused)).id)
    assert second.state == "pending"
    with hub.db.write() as session:
        assert replays.send_again(session, connection_id, [refused.id], utcnow())["accepted"] == 1
    cancel(hub, hub.deliveries(id)[-1].id)
    hub.run()
    retry(hub, refused)

    hub.until(id, "dead", "cancelled", "cancelled", "cancelled", "delivered")
    assert told(hub)["backlog_deliveries", "dead"] == 0
    assert hub.ledger(connection_id).balanced


def test_a_fact_waits_behind_a_dead_one_whose_replay_was_called_off(hub: Hub, target: FakeTarget) -> None:
    connection_id, now = hub.connect(target, "customer"), utcnow()
    with hub.db.write() as session:
        intake.add(session, [intake.plan(connection_id, "payment", "p", "append", n, now) for n in (1, 2)])
    first = dead(hub, connection_id)
    cancel(hub, retry(hub, first).id)

    assert take(hub, connection_id) == []
    again = retry(hub, first)
    assert [job.delivery_id for job in take(hub, connection_id)] == [again.id]


@on_sqlite
def test_nothing_is_sent_again_over_a_stopped_connection(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.customer()
    refused = dead(hub, connection_id)
    with hub.db.write() as session:
        connections.stop(session, {"id": connection_id, "reason": ""}, by=ADMIN)

    with pytest.raises(Conflict, match="is stopped: resume it first"):
        retry(hub, refused)
    with pytest.raises(Conflict, match="is stopped: resume it first"):
        hub.start_run(connection_id, "replay")
    with pytest.raises(Conflict, match="is stopped: resume it first"), hub.db.write() as session:
        replays.send_again(session, connection_id, [refused.id], utcnow())
    assert len(hub.rows(Delivery)) == 1


@on_sqlite
def test_what_is_on_its_way_or_settled_cannot_be_called_off(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    [job] = take(hub, connection_id)
    with pytest.raises(InvalidTransition, match="this one is leased"):
        cancel(hub, job.delivery_id)
    settle(hub, outcome(job, external_id="1"))
    with pytest.raises(InvalidTransition, match="this one is delivered"):
        cancel(hub, job.delivery_id)
    assert hub.states(id) == ["delivered"]


def test_a_stopped_connection_accepts_nothing_and_calls_nobody_until_it_is_resumed(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    before = hub.customer()
    with hub.db.write() as session:
        connections.stop(session, {"id": connection_id, "reason": "moved"}, by=ADMIN)
        with pytest.raises(InvalidTransition, match="is stopped"):
            connections.pause(session, {"id": connection_id, "reason": ""}, by=ADMIN)
    during = hub.customer()
    hub.engine.dispatcher.wake([connection_id])
    hub.engine.dispatcher.round()
    assert (hub.states(before), hub.states(during)) == (["pending"], [])
    with hub.db.write() as session:
        connections.resume(session, {"id": connection_id}, by=ADMIN)
    hub.run()
    hub.until(before, "delivered")
    hub.customer(2, during)
    hub.until(during, "delivered")
    assert hub.ledger(connection_id).balanced
