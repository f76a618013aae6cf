"""A person calls a waiting delivery off, or takes a connection out of use."""

from __future__ import annotations

import pytest

from chassis.database import utcnow
from contracts.errors import InvalidTransition
from services.integrations.models import Delivery
from services.integrations.operations import cancelling, connections
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_invariants import outcome, settle, take
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
