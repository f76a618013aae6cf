"""What somebody sees of many tasks and activities is found by indexes, and every order of a list is read from one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.context import Subject
from chassis.crypto import DataKeys, Keyring, MasterKey
from chassis.database import Database, new_id, utcnow
from chassis.sealed import KEYRING
from contracts import tasks as shapes
from contracts.schema import load
from services.customers.models import Activity, Customer, Task
from services.customers.queries import activities, tasks
from tests.support.plans import Plainly, plan_of, searched_by, shared_database, sorts

MANY = 3000
OWNERS, TEAMS = [new_id() for _ in range(100)], [new_id() for _ in range(300)]
OWNER = OWNERS[1]
IDS = [new_id() for _ in range(MANY)]
SOON, LATER = "2026-11-22T08:00:00Z", "2026-11-23T00:00:00Z"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Some thousand customers with a task and an activity each."""
    folder = tmp_path_factory.mktemp("plans")
    for database in shared_database(request, folder, "customers", _fill):
        master = MasterKey.create(folder / "master.key")
        database.info[KEYRING] = Keyring(master, DataKeys(database.engine.url.render_as_string(hide_password=False)))
        yield database


def _fill(session: Any) -> None:
    now = utcnow()
    common = {"version": 1, "created_at": now, "updated_at": now}
    session.execute(sa.insert(Customer), [
        {"id": id, "name": f"n{n}", "name_key": f"n{n}", "owner_id": OWNERS[n % 100], "team_id": TEAMS[n % 300],
         "created_by": OWNERS[n % 100], **common} for n, id in enumerate(IDS)])
    session.execute(sa.insert(Task), [
        {"id": new_id(), "title": "t", "customer_id": id, "assignee_id": OWNERS[n % 97], "team_id": TEAMS[n % 300],
         "created_by": OWNERS[n % 89], "subject_entity": "customer", "subject_id": id, **common}
        for n, id in enumerate(IDS)])
    session.execute(sa.insert(Activity), [
        {"id": new_id(), "kind": "call", "customer_id": id, "user_id": OWNERS[n % 97], "team_id": TEAMS[n % 300],
         "subject_entity": "customer", "subject_id": id, "occurred_at": now, "created_at": now}
        for n, id in enumerate(IDS)])


def plan(db: Database, table: str, depth: Any, *, may_sort: bool, **asked: Any) -> str:
    subject = Subject(id=OWNER, kind="user", name="rep", teams=(TEAMS[2],), depths={"*": {"*": depth}})
    schema, listed = {"task": (shapes.TaskList, tasks.listed), "activity": (shapes.ActivityList, activities.listed)}[
        table]
    with db.read() as session:
        return plan_of(session, lambda: listed(session, load(schema, asked), subject, Plainly()), may_sort=may_sort)


@pytest.mark.parametrize("depth", ["own", "team"])
@pytest.mark.parametrize(("table", "ways"), [("task", ("assignee_id", "created_by", "customer_id")),
                                             ("activity", ("user_id", "customer_id"))])
def test_what_somebody_sees_is_looked_up_by_each_way_of_seeing_it(db: Database, table: str, ways: tuple[str, ...],
                                                                  depth: str) -> None:
    shown = plan(db, table, depth, may_sort=True)
    found = list(searched_by(shown, table))
    assert [way for way in ways if not any(way in by for by in found)] == [], shown
    assert f"SCAN {table}\n" not in shown + "\n"
    assert "Seq Scan" not in shown


@pytest.mark.parametrize(("table", "asked"), [
    ("task", {"sort": "due_at"}), ("task", {"sort": "-created_at"}), ("activity", {}),
    ("task", {"assignee_id": OWNER, "unfinished": True, "due_from": SOON, "due_before": LATER}),
    ("task", {"unfinished": True, "due_before": LATER}), ("task", {"assignee_id": OWNER}),
    ("task", {"customer_id": IDS[0]}), ("activity", {"customer_id": IDS[0]}),
    ("activity", {"user_id": OWNER})])
def test_whoever_sees_everything_reads_it_in_order_from_an_index(db: Database, table: str,
                                                                 asked: dict[str, Any]) -> None:
    shown = plan(db, table, "all", may_sort=False, **asked)
    assert not sorts(shown), shown
    assert "Seq Scan" not in shown
    for name in asked.keys() & {"assignee_id", "customer_id", "user_id"}:
        assert any(name in by for by in searched_by(shown, table)), shown
