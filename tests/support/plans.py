"""How a database finds what a list asks for: the plans of the statements that a read runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from chassis import migrations
from chassis.database import Database


def shared_database(request: pytest.FixtureRequest, folder: Path, room: str,
                    fill: Callable[[Session], None]) -> Iterator[Database]:
    """Give the tests of a module one database of a room, of the kind `request.param`, filled and analysed."""
    on_sqlite = request.param == "sqlite"
    cluster = None if on_sqlite else request.getfixturevalue("postgres")
    name = cluster.create_database() if cluster else ""
    uri = cluster.uri(name) if cluster else f"sqlite:///{folder / room}.sqlite"
    migrations.upgrade(room, uri)
    database = Database(uri)
    with database.write() as session:
        fill(session)
    with database.write() as session:
        session.execute(text("ANALYZE"))
    yield database
    database.close()
    if cluster:
        cluster.drop_database(name)


class Plainly:
    """Leaves cursors as they are."""

    def seal(self, text: str, purpose: str) -> str:
        return text

    def open(self, sealed: str, purpose: str) -> str:
        return sealed


def plan_of(session: Session, read: Callable[[], object], *, may_sort: bool = False) -> str:
    """Return the plan of the last statement that `read` runs, which is that of the page.

    A few thousand rows fit into so few pages that PostgreSQL would rather read and sort them all; with that
    switched off the plan tells whether it could do otherwise. With `may_sort` it may still sort what an index finds, as
    it should where that is little.
    """
    engine = session.get_bind()
    ran: list[tuple[str, Any]] = []

    def see(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        ran.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", see)
    try:
        read()
    finally:
        event.remove(engine, "before_cursor_execute", see)
    statement, parameters = ran[-1]
    on_sqlite = engine.dialect.name == "sqlite"
    if not on_sqlite:
        for way in ("seqscan", "hashjoin", "mergejoin", *([] if may_sort else ["bitmapscan", "sort"])):
            session.connection().exec_driver_sql(f"SET LOCAL enable_{way} = off")
    explain = "EXPLAIN QUERY PLAN " if on_sqlite else "EXPLAIN "
    rows = session.connection().exec_driver_sql(explain + statement, parameters)
    return "\n".join(str(row[-1]) for row in rows)


def sorts(plan: str) -> bool:
    """Whether all rows are gathered and sorted before the first is shown; those of one step of an index may be."""
    return "TEMP B-TREE FOR ORDER BY" in plan or bool(re.search(r"^\W*Sort  \(", plan, re.MULTILINE))


def searched_by(plan: str, table: str) -> Iterator[str]:
    """Yield what each search of an index of `table` goes by, such as `connection_id=? AND id<?`."""
    yield from re.findall(rf"SEARCH {table} USING (?:(?:COVERING )?INDEX \w+|PRIMARY KEY) \((.*)\)", plan)
    yield from re.findall(rf"Bitmap Index Scan on \w+_{table}_[^\n]*\n\s+Index Cond:(.*)", plan)
    scans = re.findall(rf"Index (?:Only )?Scan[^\n]* on {table}\b[^\n]*\n((?:\s+\w[\w ]*:.*\n?)*)", plan)
    lines = (line.partition("Index Cond:") for scan in scans for line in scan.splitlines())
    yield from (by for _, found, by in lines if found)
