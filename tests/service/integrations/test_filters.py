"""A route's filter says which records are made at the target; what those need goes with them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.database import new_id
from contracts.errors import Invalid
from services.integrations.models import Connection, Route
from services.integrations.operations import bodies, mappings, routes
from tests.service.integrations.conftest import ADMIN, CONFIRMED, Hub, on_sqlite
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually

ACTIVE = "lifecycle == 'active'"


def choose(hub: Hub, connection_id: str, text: str | None, entity: str = "customer") -> None:
    with hub.db.write() as session:
        route = session.scalars(
            sa.select(Route).where(Route.connection_id == connection_id, Route.entity == entity)).one()
        asked = {"id": route.id, "expected_version": route.version, "changes": {"filter": text}}
        routes.change(session, asked, by=ADMIN)


@pytest.fixture
def filtered(hub: Hub, target: FakeTarget) -> str:
    """A connection that is brought active customers, and every order."""
    connection_id = hub.connect(target, "customer", "order")
    choose(hub, connection_id, ACTIVE)
    hub.run()
    return connection_id


def test_a_record_that_the_filter_leaves_out_is_skipped_until_it_is_let_through(
    hub: Hub, target: FakeTarget, filtered: str
) -> None:
    id = hub.customer(lifecycle="lead")
    hub.until(id, "skipped")
    assert hub.deliveries(id)[0].error_class == "filtered"
    assert target.of("customer") == []
    hub.customer(2, id, lifecycle="active")
    hub.until(id, "skipped", "delivered")
    assert len(target.of("customer")) == 1
    assert hub.ledger(filtered).balanced


@on_sqlite
def test_what_stands_there_is_kept_up_to_date_and_taken_back_whatever_the_filter_says(
    hub: Hub, target: FakeTarget, filtered: str
) -> None:
    id = hub.customer(lifecycle="active")
    hub.until(id, "delivered")
    hub.customer(2, id, lifecycle="lost")
    hub.until(id, "delivered", "delivered")
    assert target.of("customer")[0].body["lifecycle"] == "lost"


def test_a_record_that_another_one_needs_there_is_made_although_the_filter_leaves_it_out(
    hub: Hub, target: FakeTarget, filtered: str
) -> None:
    customer, order = hub.customer(lifecycle="lead"), new_id()
    hub.until(customer, "skipped")
    hub.tell(CONFIRMED, order, customer_id=customer, status="confirmed", lines=[])
    hub.until(order, "delivered")
    hub.until(customer, "skipped", "delivered")
    assert len(target.of("customer")) == 1


@on_sqlite
def test_a_backfill_and_a_rehearsal_leave_out_what_the_filter_does(
    hub: Hub, target: FakeTarget, filtered: str
) -> None:
    choose(hub, filtered, "lifecycle == 'none'")
    for lifecycle in ("active", "lead"):
        hub.until(hub.customer(lifecycle=lifecycle), "skipped")
    choose(hub, filtered, ACTIVE)
    hub.start(hub.engine.runner)
    rehearsed = hub.until_run(hub.start_run(filtered, "dry_run"), "completed")
    assert (rehearsed.counts["create"], rehearsed.counts["withheld"]) == (1, 1)
    run = hub.start_run(filtered, "backfill", without_matching=True, reason="the target is empty")
    counts = hub.until_run(run, "completed").counts
    assert (counts["accepted"], counts["withheld"]) == (1, 1)


@on_sqlite
def test_a_filter_that_fails_on_a_record_gives_it_to_a_person_and_lets_the_others_pass(
    hub: Hub, target: FakeTarget, filtered: str
) -> None:
    choose(hub, filtered, "length(name) > `3`")
    nameless, named = hub.customer(name=None), hub.customer(name="Evergreen")
    hub.until(nameless, "dead")
    hub.until(named, "delivered")
    [dead] = hub.deliveries(nameless)
    assert (dead.error_class, (dead.last_error or "").partition(":")[0]) == ("invalid", "/filter")


@on_sqlite
@pytest.mark.parametrize(("text", "said"), [
    ("lifecycle ==", "Character"), ("lifecicle == 'active'", "lifecicle"), ("unheard(name)", "unheard")])
def test_a_filter_that_cannot_work_is_refused_when_it_is_saved(
    hub: Hub, target: FakeTarget, text: str, said: str
) -> None:
    connection_id = hub.connect(target, "customer")
    with pytest.raises(Invalid) as refused:
        choose(hub, connection_id, text)
    [error] = refused.value.fields["errors"]
    assert (error["pointer"], error["code"], said in error["message"]) == ("/changes/filter", "expression", True)


@on_sqlite
def test_a_filter_that_can_be_read_no_more_holds_up_its_own_records_and_no_connection(
    hub: Hub, target: FakeTarget, filtered: str
) -> None:
    with hub.db.write() as session:
        session.scalars(sa.select(Route).where(Route.entity == "customer")).one().filter = "lifecycle =="
        mappings.changed(session.get_one(Connection, filtered))
    other, id = hub.connect(target, "customer"), hub.customer()
    eventually(lambda: sorted(one.state for one in hub.deliveries(id)) == ["dead", "delivered"])
    [dead] = [one for one in hub.deliveries(id) if one.connection_id == filtered]
    assert "the filter was saved when this was not refused, character" in (dead.last_error or "")
    assert hub.ledger(filtered).balanced
    assert hub.ledger(other).balanced


@on_sqlite
def test_a_filter_that_was_not_kept_is_not_sent_by(hub: Hub, target: FakeTarget, filtered: str) -> None:
    def take_back(session: Session) -> None:
        route = session.scalars(sa.select(Route).where(Route.entity == "customer")).one()
        asked = {"id": route.id, "expected_version": route.version, "changes": {"filter": "lifecycle == 'none'"}}
        routes.change(session, asked, by=ADMIN)
        bodies.of(session, session.get_one(Connection, filtered))
        raise RuntimeError("taken back")

    with pytest.raises(RuntimeError), hub.db.write() as session:
        take_back(session)
    choose(hub, filtered, "lifecycle == 'lead'")

    hub.until(hub.customer(lifecycle="lead"), "delivered")
