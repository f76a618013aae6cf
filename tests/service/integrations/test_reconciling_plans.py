"""What a reconciliation asks is found by an index each time: among a million records a page costs what a page does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.database import Database, new_id, utcnow
from services.integrations.models import Connection, Delivery, Listed, Run, Suspected
from services.integrations.operations import intake
from services.integrations.queries import reconciliations as queries
from services.integrations.queries import runs
from tests.support.plans import plan_of, searched_by, shared_database, sorts

MANY = 3000
CONNECTION, RUN, NOW = new_id(), new_id(), utcnow()
SOME = [f"r{n}" for n in range(20)]

ASKED: dict[str, tuple[Callable[[Session], Any], str, str]] = {
    "the last deliveries": (
        lambda session: queries.newest_deliveries(session, CONNECTION, "customer", SOME), "delivery", "local_id"),
    "listed by their id": (
        lambda session: session.execute(*queries.by_external(RUN, SOME)).all(), "listed", "external_id"),
    "listed by our key": (lambda session: session.execute(*queries.by_own_key(RUN, SOME)).all(), "listed", "own_key"),
    "copies": (lambda session: queries.copies(session, RUN, SOME), "listed", "content"),
    "suspects": (lambda session: queries.suspects(session, RUN, 20), "suspected", "run_id"),
    "findings to be mended": (lambda session: queries.decided(session, RUN, 100), "finding", "state"),
    "runs to repeat": (lambda session: runs.any_repeated(session, NOW), "run", "next_run_at"),
}
"""What → how it is asked, of which table, and the column that its search goes by."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A run amid some thousand records."""
    yield from shared_database(request, tmp_path_factory.mktemp("plans"), "integrations", _fill)


def _fill(session: Session) -> None:
    session.execute(sa.insert(Connection), [
        {"id": CONNECTION, "name": "c", "kind": "erp", "adapter": "x", "adapter_version": "1",
         "guarantee": "at_least_once", "config": {}, "rate_per_s": 1.0, "burst": 1, "max_in_flight": 1,
         "created_by": "u", "created_at": NOW, "updated_at": NOW}])
    session.execute(sa.insert(Run), [
        {"id": id, "connection_id": CONNECTION, "entity": "customer", "kind": "reconcile", "state": "completed",
         "filter": {}, "options": {}, "position": {}, "counts": {}, "created_by": "u", "due_at": NOW,
         "created_at": NOW} for id in (RUN, *(new_id() for _ in range(200)))])
    session.execute(sa.insert(Delivery), [
        intake.plan(CONNECTION, "customer", f"r{n}", "upsert", 1, NOW) | {"state": "delivered"} for n in range(MANY)])
    session.execute(sa.insert(Listed), [
        {"run_id": RUN, "n": n, "external_id": f"r{n}", "own_key": f"k{n}", "content": f"h{n}", "active": True}
        for n in range(MANY)])
    session.execute(sa.insert(Suspected), [
        {"run_id": RUN, "kind": "mismatch", "local_id": f"r{n}", "external_id": f"r{n}"} for n in range(MANY)])


@pytest.mark.parametrize("name", ASKED)
def test_each_question_of_a_reconciliation_is_answered_by_an_index(db: Database, name: str) -> None:
    ask, table, column = ASKED[name]
    with db.read() as session:
        shown = plan_of(session, lambda: ask(session), may_sort=True)
    assert any(column in by for by in searched_by(shown, table)), shown
    assert f"Seq Scan on {table}" not in shown
    assert f"SCAN {table}\n" not in f"{shown}\n"
    assert not sorts(shown), shown
