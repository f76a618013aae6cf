"""Every filter of every list is answered by an index in the list's order: a million rows cost what a page does."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.database import Database, new_id, utcnow
from chassis.paging import Page
from contracts import integrations as contract
from contracts import runs as run_contract
from contracts.conflicts import ListConflicts
from contracts.deliveries import ListAttempts, ListDeliveries
from contracts.schema import PageRequest, load
from services.integrations.domain.deliveries import OPEN
from services.integrations.models import Attempt, Conflict, Connection, Delivery, Finding, Record, Run
from services.integrations.operations import intake
from services.integrations.queries import conflicts, deliveries, due, findings, gauges, lanes, runs, walks
from tests.service.integrations.conftest import ADMIN
from tests.support.plans import Plainly, plan_of, searched_by, shared_database, sorts

MANY = 3000
CONNECTIONS = [new_id() for _ in range(2)]
NOW = utcnow()

OF_DELIVERIES: dict[str, tuple[Any, str]] = {
    "connection_id": (CONNECTIONS[1], "connection_id"),
    "state": ("dead", "state"),
    "entity": ("order", "entity"),
    "local_id": ("r7", "local_id"),
    "error_class": ("invalid", "error_class"),
    "created_from": (NOW.isoformat(), "id"),
    "created_to": (NOW.isoformat(), "id"),
}
"""Filter → a value that few rows have, and the column that its search goes by."""
OF_CONFLICTS: dict[str, Any] = {"connection_id": CONNECTIONS[1], "entity": "order", "local_id": "r7", "state": "open"}
"""Filter → a value that few rows have; each is a column of its own."""
OF_RUNS: dict[str, Any] = {"connection_id": CONNECTIONS[1], "kind": "match", "state": "failed"}
OF_FINDINGS: dict[str, Any] = {"id": new_id(), "kind": "doubtful", "state": "open"}
"""Filter → a value that few rows have; what is found lies under its run."""
WHOLE = dict.fromkeys(("list_connections", "list_routes", "list_mappings"), "set up by a person, dozens")
"""Lists whose tables do not grow with use, and may be read whole."""
OF_ONE_RECORD = {"entity": OF_DELIVERIES["entity"], "local_id": OF_DELIVERIES["local_id"]}
FILTERED: dict[str, dict[str, Any]] = {
    "list_deliveries": OF_DELIVERIES, "list_attempts": {"id": ("", "delivery_id")}, "list_conflicts": OF_CONFLICTS,
    "list_runs": OF_RUNS, "list_findings": OF_FINDINGS,
    "list_deliveries_of_record": OF_ONE_RECORD | {"previews": (True, "")}}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Some thousand deliveries, most of them delivered customers of one connection."""
    yield from shared_database(request, tmp_path_factory.mktemp("plans"), "integrations", _fill)


def _fill(session: Any) -> None:
    common = {"kind": "erp", "adapter": "x", "adapter_version": "1", "guarantee": "at_least_once", "config": {},
              "rate_per_s": 1.0, "burst": 1, "max_in_flight": 1, "created_by": "u", "created_at": NOW,
              "updated_at": NOW}
    session.execute(sa.insert(Connection), [{"id": id, "name": id, **common} for id in CONNECTIONS])
    rows = []
    for n in range(MANY):
        connection = CONNECTIONS[1] if n % 100 == 1 else CONNECTIONS[0]
        row = intake.plan(connection, "order" if n % 100 == 2 else "customer", f"r{n}", "upsert", 1, NOW)
        state = "dead" if n % 100 == 3 else "blocked" if n % 10 == 5 else "delivered"
        rows.append(row | {"state": state, "error_class": "invalid" if state == "dead" else None,
                           "blocked_entity": "customer" if state == "blocked" else None,
                           "blocked_id": f"b{n}" if state == "blocked" else None})
    session.execute(sa.insert(Delivery), rows)
    session.execute(sa.insert(Attempt), [{"delivery_id": row["id"], "n": 1, "fence": 1, "action": "write",
                                          "started_at": NOW} for row in rows])
    said = {"fields": [], "code": "x", "reason": "x", "updated_at": NOW}
    session.execute(sa.insert(Conflict), [
        {"connection_id": CONNECTIONS[int(n % 100 == 1)], "entity": "order" if n % 100 == 2 else "task",
         "external_id": str(n), "local_id": f"r{n}", "state": "open" if n % 100 == 3 else "resolved",
         "opened_at": NOW - dt.timedelta(seconds=n)} | said
        for n in range(MANY)])
    _fill_runs(session)


def _fill_runs(session: Any) -> None:
    another = new_id()
    walked = {"filter": {}, "options": {}, "position": {}, "counts": {}, "created_by": "u", "due_at": NOW,
              "created_at": NOW, "entity": "customer"}
    session.execute(sa.insert(Run), [
        {"id": {0: OF_FINDINGS["id"], 1: another}.get(n) or new_id(), "connection_id": CONNECTIONS[int(n % 100 == 1)],
         "kind": "match" if n % 100 == 2 else "backfill", "state": "failed" if n % 100 == 3 else "completed"} | walked
        for n in range(MANY)])
    session.execute(sa.insert(Finding), [
        {"run_id": OF_FINDINGS["id"] if n % 10 == 0 else another, "kind": "doubtful" if n % 100 == 10 else "new",
         "candidates": [], "fields": [], "state": "open" if n % 100 == 20 else "done", "created_at": NOW}
        for n in range(MANY)])
    session.execute(sa.insert(Record), [
        {"entity": "customer", "id": f"r{n:04}", "version": 1, "state_sealed": "", "state_hash": "", "seen_at": NOW}
        for n in range(MANY)])


def plan(db: Database, **asked: Any) -> str:
    request = load(ListDeliveries, asked)
    with db.read() as session:
        return plan_of(session, lambda: deliveries.listed(session, request, ADMIN, Plainly()))


def filters_of(request: type[PageRequest]) -> set[str]:
    return set(request().fields) - set(PageRequest().fields)


def test_every_list_of_the_room_is_looked_at_here_with_each_of_its_filters() -> None:
    lists = {one.name: one.request for one in contract.OPERATIONS if issubclass(one.request, PageRequest)}
    assert set(lists) == {*FILTERED, *WHOLE}, "say how the new list is read, or that its table stays small"
    for name, filters in FILTERED.items():
        assert filters_of(lists[name]) == set(filters), f"{name}: give the new filter an index, and a line here"


@pytest.mark.parametrize("later_page", [False, True])
@pytest.mark.parametrize("name", OF_DELIVERIES)
def test_each_filter_is_searched_by_its_own_index_and_nothing_is_sorted(
    db: Database, name: str, later_page: bool
) -> None:
    value, column = OF_DELIVERIES[name]
    asked: dict[str, Any] = {name: value}
    if later_page:
        asked["cursor"] = _cursor(db, asked)
    shown = plan(db, **asked)
    assert any(column in by for by in searched_by(shown, "delivery")), shown
    assert not sorts(shown), shown


def _cursor(db: Database, asked: dict[str, Any]) -> str | None:
    with db.read() as session:
        request = load(ListDeliveries, asked | {"limit": 1})
        return deliveries.listed(session, request, ADMIN, Plainly()).next


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(OF_DELIVERIES, 2)))
def test_two_filters_walk_the_rows_of_one_of_them_and_nothing_is_sorted(db: Database, one: str, other: str) -> None:
    shown = plan(db, **{name: OF_DELIVERIES[name][0] for name in (one, other)})
    columns = {OF_DELIVERIES[name][1] for name in (one, other)}
    assert any(column in by for by in searched_by(shown, "delivery") for column in columns), shown
    assert not sorts(shown) or "local_id" in (one, other), shown  # of one record there are dozens


@pytest.mark.parametrize("later_page", [False, True])
@pytest.mark.parametrize("name", OF_CONFLICTS)
def test_conflicts_are_searched_by_the_index_of_each_filter_and_nothing_is_sorted(
    db: Database, name: str, later_page: bool
) -> None:
    def page(session: Session, cursor: str | None, limit: int) -> Page:
        request = load(ListConflicts, {name: OF_CONFLICTS[name], "limit": limit, "cursor": cursor})
        return conflicts.listed(session, request, ADMIN, Plainly())

    with db.read() as session:
        cursor = page(session, None, 1).next if later_page else None
        shown = plan_of(session, lambda: page(session, cursor, 20))
    assert any(name in by for by in searched_by(shown, "conflict")), shown
    assert not sorts(shown), shown


def test_what_became_of_one_record_is_searched_by_its_id(db: Database) -> None:
    shown = plan(db, **{name: value for name, (value, _column) in OF_ONE_RECORD.items()})
    assert any("local_id" in by for by in searched_by(shown, "delivery")), shown


def test_without_a_filter_the_newest_are_read_from_the_end_of_the_primary_key(db: Database) -> None:
    shown = plan(db)
    assert "sqlite_autoindex_delivery_1" in shown or "Backward using delivery_pkey" in shown, shown
    assert not sorts(shown)


def test_the_gauges_read_one_index_and_no_more_than_what_is_counted(db: Database) -> None:
    with db.read() as session:
        shown = plan_of(session, lambda: session.execute(gauges.standing()).all())
        on_sqlite = session.get_bind().dialect.name == "sqlite"
    assert "SCAN delivery" not in shown
    assert "Seq Scan on delivery" not in shown
    if on_sqlite:  # PostgreSQL takes the smaller index of one state where there is one
        by = list(searched_by(shown, "delivery"))
        assert by == ["connection_id=? AND state=?"] * (len(OPEN) + len(gauges.COUNTED)), shown
    assert not sorts(shown), shown


def test_the_attempts_of_a_delivery_are_searched_by_it_in_their_order(db: Database) -> None:
    with db.read() as session:
        id = session.scalars(sa.select(Delivery.id).limit(1)).one()
        request = load(ListAttempts, {"id": id})
        shown = plan_of(session, lambda: deliveries.attempts(session, request, ADMIN, Plainly()))
    assert any("delivery_id" in by for by in searched_by(shown, "attempt")), shown
    assert "Seq Scan" not in shown
    assert not sorts(shown), shown


@pytest.mark.parametrize(("asked", "found"), [
    ({"created_from": -1}, 3000), ({"created_to": -1}, 0), ({"created_to": 1}, 3000), ({"created_from": 1}, 0),
    ({"created_from": -1, "created_to": 1}, 3000), ({"created_from": -10_000, "created_to": -9_000}, 0),
])
def test_a_time_range_finds_what_was_created_in_it(db: Database, asked: dict[str, int], found: int) -> None:
    given = {name: (NOW + dt.timedelta(seconds=s)).isoformat() for name, s in asked.items()}
    with db.read() as session:
        query = deliveries.filtered(load(ListDeliveries, given))
        assert session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) == found


@pytest.mark.parametrize("name", OF_RUNS)
def test_runs_are_searched_by_the_index_of_each_filter_and_nothing_is_sorted(db: Database, name: str) -> None:
    request = load(run_contract.ListRuns, {name: OF_RUNS[name]})
    with db.read() as session:
        shown = plan_of(session, lambda: session.execute(runs.filtered(request).order_by(Run.id.desc()).limit(20)))
    assert any(name in by for by in searched_by(shown, "run")), shown
    assert not sorts(shown), shown


@pytest.mark.parametrize("name", OF_FINDINGS)
def test_findings_are_searched_below_their_run_by_the_index_of_each_filter(db: Database, name: str) -> None:
    request = load(run_contract.ListFindings, {"id": OF_FINDINGS["id"], name: OF_FINDINGS[name]})
    with db.read() as session:
        shown = plan_of(session, lambda: session.execute(
            findings.filtered(request).order_by(Finding.id).limit(20)))
    assert any("run_id" in by and (name == "id" or name in by) for by in searched_by(shown, "finding")), shown
    assert not sorts(shown), shown


def test_a_page_of_a_walk_over_all_records_is_a_stretch_of_the_primary_key(db: Database) -> None:
    with db.read() as session:
        shown = plan_of(session, lambda: walks.ids_after(session, "customer", "r1500", 500))
    assert any("entity" in by and "id" in by for by in searched_by(shown, "record")), shown
    assert not sorts(shown), shown


def test_what_waits_behind_the_events_is_counted_in_the_index_of_what_is_due(db: Database) -> None:
    with db.read() as session:
        shown = plan_of(session, lambda: walks.waiting(session, CONNECTIONS[0], 1000))
    assert any("connection_id" in by and "priority" in by for by in searched_by(shown, "delivery")), shown


def test_the_look_for_due_runs_reads_none_that_have_ended(db: Database) -> None:
    with db.read() as session:
        shown = plan_of(session, lambda: session.execute(due.runs_due(NOW, 1, locked=False)), may_sort=True)
    assert "ix_run_due" in shown, shown


@pytest.mark.parametrize("many", [1, 3])
def test_what_waits_for_a_record_is_searched_by_that_record(db: Database, many: int) -> None:
    awaited = [(CONNECTIONS[n % 2], "customer", f"b{n}5") for n in range(many)]
    with db.read() as session:
        shown = plan_of(session, lambda: lanes.blocked_on(session, awaited, locked=True), may_sort=True)
    assert any("blocked_id" in by for by in searched_by(shown, "delivery")), shown


def test_what_waits_for_a_record_at_another_connection_is_not_found_with_it(db: Database) -> None:
    with db.read() as session:
        found = lanes.blocked_on(session, [(CONNECTIONS[0], "customer", "b5"), (CONNECTIONS[1], "customer", "b15")])
    assert [row.blocked_id for row in found] == ["b5"]
