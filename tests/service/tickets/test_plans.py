"""Lists of many tickets are read by indexes, in their order, and a queue counts from one index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.context import Subject
from chassis.database import Database, new_id, utcnow
from contracts.schema import load
from contracts.tickets import TicketList
from services.tickets.models import CustomerRef, Queue, QueueMember, Ticket
from services.tickets.queries import queues, tickets
from tests.support.plans import Plainly, plan_of, searched_by, shared_database, sorts

MANY = 3000
PEOPLE, TEAMS, QUEUES = ([new_id() for _ in range(n)] for n in (100, 300, 60))
CUSTOMERS = [new_id() for _ in range(MANY)]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Some thousand tickets, each of a customer of its own."""
    yield from shared_database(request, tmp_path_factory.mktemp("plans"), "tickets", _fill)


def _fill(session: Any) -> None:
    common = {"version": 1, "created_at": utcnow(), "updated_at": utcnow()}
    session.execute(sa.insert(CustomerRef), [
        {"id": id, "version": 1, "name": "c", "owner_id": PEOPLE[n % 100], "team_id": TEAMS[n % 300]}
        for n, id in enumerate(CUSTOMERS)])
    session.execute(sa.insert(Queue), [
        {"id": id, "name": f"q{n}", "strategy": "manual", "active": True, "last_place": 0, "created_by": PEOPLE[0],
         **common} for n, id in enumerate(QUEUES)])
    session.execute(sa.insert(QueueMember), [
        {"queue_id": QUEUES[n % 60], "user_id": person, "place": n} for n, person in enumerate(PEOPLE)])
    session.execute(sa.insert(Ticket), [
        {"id": new_id(), "subject": "s", "type": "question", "priority": "normal", "channel": "web", "product": "",
         "status": "new" if n % 50 else "open", "reopen_count": 0,
         "customer_id": id, "queue_id": QUEUES[n % 60], "team_id": TEAMS[n % 300],
         "assignee_id": PEOPLE[n % 97] if n % 3 else None, "created_by": PEOPLE[n % 89], **common}
        for n, id in enumerate(CUSTOMERS)])


def plan(db: Database, depth: Any, *, may_sort: bool, **asked: Any) -> str:
    subject = Subject(id=PEOPLE[1], kind="user", name="agent", teams=(TEAMS[2],), depths={"ticket": {"read": depth}})
    with db.read() as session:
        return plan_of(session, lambda: tickets.listed(session, load(TicketList, asked), subject, Plainly()),
                       may_sort=may_sort)


@pytest.mark.parametrize("depth", ["own", "team", "tree"])
def test_what_somebody_sees_is_read_by_index_and_their_queues_and_customers_are_looked_up(db: Database,
                                                                                          depth: str) -> None:
    shown = plan(db, depth, may_sort=True)
    assert "Seq Scan" not in shown
    assert "SCAN ticket\n" not in shown + "\n"
    for table, way in (("queue_member", "user_id"), ("customer_ref", "owner_id")):
        assert any(way in by for by in searched_by(shown, table)), shown


@pytest.mark.parametrize("asked", [
    {}, {"sort": "updated_at"}, {"status": "open"}, {"queue_id": QUEUES[0]}, {"assignee_id": PEOPLE[1]},
    {"customer_id": CUSTOMERS[0]},
    {"assignee_id": PEOPLE[1], "unresolved": True}], ids=lambda asked: "-".join(asked) or "all")
def test_whoever_sees_everything_reads_it_in_order_from_an_index(db: Database, asked: dict[str, Any]) -> None:
    shown = plan(db, "all", may_sort=False, **asked)
    assert not sorts(shown), shown
    assert "Seq Scan" not in shown
    for name in asked.keys() - {"sort", "unresolved"}:
        assert any(name in by for by in searched_by(shown, "ticket")), shown


def test_what_members_of_a_queue_have_is_counted_from_one_index(db: Database) -> None:
    with db.read() as session:
        shown = plan_of(session, lambda: queues.loads(session, QUEUES[0]), may_sort=True)
    assert "ix_ticket_unresolved" in shown, shown


def test_queues_with_a_ticket_that_waits_are_found_from_the_same_index(db: Database) -> None:
    with db.read() as session:
        shown = plan_of(session, lambda: session.scalars(queues.with_waiting()).all(), may_sort=True)
    assert any("assignee_id" in by for by in searched_by(shown, "ticket")), shown
    assert "ix_ticket_unresolved" in shown, shown
