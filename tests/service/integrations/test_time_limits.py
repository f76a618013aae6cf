"""Nothing waits for ever: leases that are renewed while a call lasts, calls that never come back, and dead ends."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from chassis.database import new_id, utcnow
from chassis.outbox import OUTBOX
from hub_adapter.port import Write, Written
from services.integrations.engine import dispatcher
from services.integrations.models import Delivery
from services.integrations.operations import claims, sweeps
from services.integrations.operations.claims import Lease
from tests.service.integrations.conftest import CONFIRMED, Hub
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually


def take(hub: Hub, connection_id: str, owner: str) -> str:
    """Lease the one due delivery for a minute; return its id."""
    now = utcnow()
    with hub.db.write() as session:
        lease = Lease(owner=owner, until=now + dt.timedelta(seconds=60))
        [job] = claims.claim(session, hub.keyring, [(connection_id, 1)], lease, now)[0]
    return job.delivery_id


def renew(hub: Hub, owner: str, delivery_id: str, until: dt.datetime, fence: int = 1) -> set[tuple[str, int]]:
    with hub.db.write() as session:
        return claims.renew(session, owner, [(delivery_id, fence)], until)


# --- leases -------------------------------------------------------------------------------------------------------


def test_a_lease_is_renewed_by_the_process_that_holds_it_and_by_no_other(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    delivery_id = take(hub, connection_id, "me")
    before, later = hub.deliveries(id)[0].lease_until, utcnow() + dt.timedelta(seconds=300)

    assert renew(hub, "another process", delivery_id, later) == set()
    assert renew(hub, "me", delivery_id, later, fence=0) == set()
    assert hub.deliveries(id)[0].lease_until == before
    assert renew(hub, "me", delivery_id, later) == {(delivery_id, 1)}
    assert hub.deliveries(id)[0].lease_until == later


def test_a_lease_that_was_taken_back_is_not_renewed(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    id = hub.customer()
    delivery_id = take(hub, connection_id, "me")
    with hub.db.write() as session:
        sweeps.end_leases(session, {"me"}, utcnow(), lambda: 0.5)

    assert renew(hub, "me", delivery_id, utcnow() + dt.timedelta(seconds=300)) == set()
    assert hub.states(id) == ["in_doubt"]


# --- calls --------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Writes wait for this, with no regard to their deadline, as an adapter with a client of its own may."""
    gate = threading.Event()

    def write(_self: object, _ctx: object, _entity: str, _cmd: Write) -> Written:
        gate.wait(30)
        return Written(external_id="late")

    monkeypatch.setattr("tests.support.fake_target.FakeAdapter.write", write)
    monkeypatch.setattr(dispatcher, "OVERDUE_S", 0.2)
    yield gate
    gate.set()


def test_a_call_that_never_comes_back_is_given_up_and_its_late_answer_changes_nothing(
    make_hub: Callable[..., Hub], target: FakeTarget, held: threading.Event
) -> None:
    hub = make_hub(call_deadline_s=0.3)
    connection_id = hub.connect(target, "customer")
    hub.run()
    id = hub.customer()

    hub.until(id, "in_doubt")
    [delivery] = hub.deliveries(id)
    assert (delivery.error_class, delivery.last_error) == ("ambiguous", "no answer within 0.5 s")
    held.set()
    hub.quiet(0.5)

    assert hub.states(id) == ["in_doubt"]
    assert hub.binding(id).external_id is None
    assert hub.ledger(connection_id).balanced


def test_a_call_that_is_given_up_makes_room_for_the_next(
    make_hub: Callable[..., Hub], target: FakeTarget, held: threading.Event
) -> None:
    hub = make_hub(call_deadline_s=0.3)
    hub.connect(target, "customer", max_in_flight=1)
    hub.run()
    first, second = hub.customer(), hub.customer()

    eventually(lambda: [*hub.states(first), *hub.states(second)] == ["in_doubt", "in_doubt"])


# --- what is waited for -------------------------------------------------------------------------------------------


def blocked_too_long(hub: Hub, connection_id: str, customer: str) -> str:
    """Tell of an order whose customer is not at the target, and let its deadline pass; return its id."""
    order = new_id()
    hub.tell(CONFIRMED, order, wake=False, customer_id=customer, number="SO-1")
    now = utcnow()
    with hub.db.write() as session:
        claims.claim(session, hub.keyring, [(connection_id, 9)], Lease(owner="me", until=now), now)
    [delivery] = hub.deliveries(order)
    assert delivery.state == "blocked"
    assert delivery.deadline_at is not None
    assert delivery.deadline_at > now + dt.timedelta(days=3)
    with hub.db.write() as session:
        session.execute(sa.update(Delivery).where(Delivery.id == delivery.id).values(due_at=now, deadline_at=now))
    return order


def sweep(hub: Hub) -> None:
    with hub.db.write() as session:
        sweeps.release_blocked(session, utcnow())


def test_what_waits_for_a_record_that_nobody_ever_told_of_ends_at_its_deadline_and_says_so(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer", "order")
    customer = new_id()
    order = blocked_too_long(hub, connection_id, customer)

    sweep(hub)

    [delivery] = hub.deliveries(order)
    assert (delivery.state, delivery.error_class) == ("dead", "dependency_missing")
    assert delivery.last_error == (f"customer {customer} could not be delivered: "
                                   "it never reached this service, or was refused there")
    with hub.db.read() as session:
        assert list(session.scalars(sa.select(OUTBOX.c.subject))) == [delivery.id]
    assert hub.ledger(connection_id).balanced


def test_what_waits_for_a_record_that_is_on_its_way_waits_on_past_its_deadline(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", "order")
    customer = hub.customer()
    order = blocked_too_long(hub, connection_id, customer)
    assert hub.states(customer) == ["leased"]

    sweep(hub)

    [delivery] = hub.deliveries(order)
    assert delivery.state == "blocked"
    assert delivery.due_at > utcnow()
