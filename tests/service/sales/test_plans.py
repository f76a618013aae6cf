"""Lists read by index and cost the same however many orders there are."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.orm import Session

from chassis import migrations
from chassis.context import Subject
from chassis.database import Database, new_id
from contracts.sales import OrderList
from contracts.schema import load
from services.sales.models import CustomerRef, Order
from services.sales.queries import orders

ROWS, CUSTOMERS, REPS = 40_000, 2_000, 100
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
OWNERS = [new_id() for _ in range(REPS)]
TEAMS = [new_id() for _ in range(10)]
CLIENTS = [new_id() for _ in range(CUSTOMERS)]
NEWCOMER = new_id()


@pytest.fixture
def db(tmp_path: Path, db_uri: str) -> Iterator[Database]:
    """A sales database with many orders of many customers; each rep owns a hundredth of them."""
    migrations.upgrade("sales", db_uri)
    database = Database(db_uri)
    with database.write() as session:
        session.execute(insert(CustomerRef), [
            {"id": id, "version": 1, "name": "c", "lifecycle": "active", "owner_id": OWNERS[n % REPS],
             "team_id": TEAMS[n % REPS % 10]} for n, id in enumerate(CLIENTS)])
        for start in range(0, ROWS, 5_000):
            session.execute(insert(Order), [_order(n) for n in range(start, start + 5_000)])
        if not database.is_sqlite:  # autovacuum does it there; nobody does on SQLite
            session.execute(text("ANALYZE"))
    yield database
    database.close()


def _order(n: int) -> dict[str, Any]:
    at, customer = START + dt.timedelta(minutes=n), n % CUSTOMERS
    return {"id": new_id(), "version": 1, "created_at": at, "updated_at": at, "serial": n + 1, "currency": "CNY",
            "number": f"SO-2026-{n + 1:06d}", "customer_id": CLIENTS[customer], "total": Decimal(1), "line_count": 1,
            "status": "draft" if n % 50 == 0 else "confirmed", "note": "", "owner_id": OWNERS[customer % REPS],
            "team_id": TEAMS[customer % REPS % 10], "created_by": OWNERS[0]}


def reach(depth: str, owner: str = "", *teams: str) -> Subject:
    return Subject(id=owner or new_id(), kind="user", name="rep", teams=teams, depths={"order": {"read": depth}})


class Plainly:
    """Leaves cursors as they are."""

    def seal(self, text: str, purpose: str) -> str:
        return text

    def open(self, sealed: str, purpose: str) -> str:
        return sealed


def plan_of(session: Session, subject: Subject, **asked: Any) -> tuple[str, float]:
    """Return how the database finds the page, and how many milliseconds it takes."""
    ran: list[tuple[str, Any]] = []

    def see(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        ran.append((statement, parameters))

    request, sealer = load(OrderList, asked), Plainly()
    engine = session.get_bind()
    orders.listed(session, request, subject, sealer)
    event.listen(engine, "before_cursor_execute", see)
    began = time.perf_counter()
    orders.listed(session, request, subject, sealer)
    took = (time.perf_counter() - began) * 1000
    event.remove(engine, "before_cursor_execute", see)
    [(statement, parameters)] = ran
    explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    rows = session.connection().exec_driver_sql(explain + statement, parameters)
    return "\n".join(str(row[-1]) for row in rows), took


LISTS: list[tuple[str, Subject, dict[str, Any]]] = [
    ("everything, newest first", reach("all"), {}),
    ("everything, by last change", reach("all"), {"sort": "updated_at"}),
    ("everything, by number", reach("all"), {"sort": "-number"}),
    ("drafts", reach("all"), {"status": "draft"}),
    ("one customer's", reach("all"), {"customer_id": CLIENTS[7]}),
    ("by number", reach("all"), {"number": "SO-2026-000123"}),
    ("a rep's own", reach("own", OWNERS[3]), {}),
    ("a newcomer's own: none", reach("own", NEWCOMER), {}),
    ("a team's", reach("team", OWNERS[3], TEAMS[3]), {}),
    ("a team's drafts", reach("team", OWNERS[3], TEAMS[3]), {"status": "draft"}),
]


def reads_by_index(plan: str) -> bool:
    """Whether the plan walks or searches an index of the orders, never the table itself."""
    scans = [line for line in plan.splitlines() if "sales_order" in line and "SCAN " in line]
    return "Seq Scan on sales_order" not in plan and all("USING INDEX" in line for line in scans)


def test_no_list_reads_the_whole_table(db: Database) -> None:
    with db.read() as session:
        for name, subject, asked in LISTS:
            plan, took = plan_of(session, subject, **asked)
            print(f"\n== {name}: {took:.1f} ms of {ROWS} orders", plan, sep="\n")  # noqa: T201
            assert reads_by_index(plan), name


def test_everything_is_read_in_its_order_and_nothing_is_sorted(db: Database) -> None:
    with db.read() as session:
        for sort in ("created_at", "-created_at", "updated_at", "-updated_at", "number", "-number"):
            plan, _ = plan_of(session, reach("all"), sort=sort)
            assert "TEMP B-TREE" not in plan
            assert "Sort" not in plan.replace("Incremental Sort", "").replace("Sort Key", "").replace("Presorted", "")


def test_a_later_page_begins_where_the_cursor_says_not_at_the_start(db: Database) -> None:
    with db.read() as session:
        first = orders.listed(session, load(OrderList, {}), reader := reach("all"), Plainly())
        plan, _ = plan_of(session, reader, cursor=first.next)
    assert "Index Cond: (ROW(created_at" in plan or "ix_sales_order_created_at_id ((created_at,id)<" in plan, plan


def test_whoever_has_no_orders_is_told_so_without_reading_those_of_others(db: Database) -> None:
    with db.read() as session:
        plan, _ = plan_of(session, reach("own", NEWCOMER))
    assert "BitmapOr" in plan or "MULTI-INDEX OR" in plan
