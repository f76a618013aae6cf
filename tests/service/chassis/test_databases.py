"""A database that dies, is locked or is shared: 503 in time, healing, nothing half done."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import eventlet
import psycopg2
import pytest
import sqlalchemy as sa

from chassis.database import Database
from contracts import errors
from tests.service.chassis.laboratory import Lab, eventually, measured
from tests.support.postgres import Postgres
from tests.support.processes import ROOT


def test_a_killed_postgresql_is_unavailable_and_heals_within_fifteen_seconds(
        lab_on_postgres: Lab, postgres: Postgres) -> None:
    lab = lab_on_postgres
    container = lab.start()
    lab.add("before")
    under_way = [eventlet.spawn(_outcome, lab, f"u{number}") for number in range(4)]
    eventually(lambda: lab.runs("add u") == 4)
    postgres.kill()
    assert {type(each.wait()) for each in under_way} == {errors.Unavailable}
    began = time.monotonic()
    with pytest.raises(errors.Unavailable):
        lab.add("meanwhile")
    assert time.monotonic() - began < 2.0
    assert "database" in container.runtime.health.missing()["migrations"]
    postgres.start()
    began = time.monotonic()
    while not isinstance(_outcome(lab, "after", hold_s=0.0), str):
        assert time.monotonic() - began < 15
    measured(f"R after a PostgreSQL kill -9: {time.monotonic() - began:.1f} s")
    assert lab.notes() == ["before", "after"]
    eventually(lambda: container.runtime.health.missing() == {})


def _outcome(lab: Lab, text: str, hold_s: float = 1.5) -> str | errors.HubError:
    try:
        answer: str = lab.add(text, hold_s=hold_s, timeout_s=10).value["text"]
    except errors.HubError as error:
        return error
    return answer


def test_terminated_connections_cost_one_answer_each_at_most(lab_on_postgres: Lab, postgres: Postgres) -> None:
    lab = lab_on_postgres
    lab.start()
    for call in [eventlet.spawn(lab.add, f"n{number}") for number in range(5)]:
        call.wait()
    database = lab.settings().db_uri.rpartition("/")[2]
    postgres.terminate_connections(database)
    outcomes = [_outcome(lab, f"m{number}", hold_s=0.0) for number in range(5)]
    assert all(isinstance(each, str | errors.Unavailable) for each in outcomes)
    assert sum(not isinstance(each, str) for each in outcomes) <= 1  # the pool throws all out after the first
    assert len(lab.notes()) == 5 + sum(isinstance(each, str) for each in outcomes)


def test_a_locked_table_is_unavailable_by_the_lock_timeout(lab_on_postgres: Lab, postgres: Postgres) -> None:
    lab = lab_on_postgres
    lab.start()
    lab.add("before")
    locker = psycopg2.connect(host="127.0.0.1", port=postgres.port, user=postgres.superuser,
                              dbname=lab.settings().db_uri.rpartition("/")[2])
    with locker.cursor() as cursor:
        cursor.execute("LOCK TABLE note IN ACCESS EXCLUSIVE MODE")
    began = time.monotonic()
    with pytest.raises(errors.Unavailable):
        lab.add("locked out", timeout_s=10)
    assert 1.5 < time.monotonic() - began < 4
    locker.rollback()
    locker.close()
    lab.add("after")
    assert lab.notes() == ["before", "after"]


def test_a_full_pool_is_unavailable_and_no_deadlock(postgres_uri: str) -> None:
    db = Database(postgres_uri, pool_size=1)
    db.engine.pool._timeout = 0.3  # type: ignore[attr-defined]
    with db.engine.connect(), pytest.raises(errors.Unavailable, match="in use"), db.read():
        pass
    with db.read() as session:
        assert session.execute(sa.text("SELECT 1")).scalar() == 1
    db.close()


def test_a_service_whose_connections_are_all_in_use_says_so_and_goes_on(lab_on_postgres: Lab) -> None:
    lab = lab_on_postgres
    pool = lab.start().runtime.db.engine.pool
    with ExitStack() as held:
        for _ in range(pool.size()):  # type: ignore[attr-defined]
            held.enter_context(closing(pool.connect()))
        pool._timeout = 0.3  # type: ignore[attr-defined]
        with pytest.raises(errors.Unavailable, match="in use"):
            lab.add("turned away", timeout_s=10)
    lab.add("after")
    assert lab.notes() == ["after"]


WRITER = """
import eventlet; eventlet.monkey_patch()
import sys
import sqlalchemy as sa
from chassis.database import Database
db = Database(f"sqlite:///{sys.argv[1]}")
with db.write() as s:
    s.execute(sa.text("CREATE TABLE IF NOT EXISTS t (who TEXT, n INTEGER, pad TEXT)"))
print("ready", flush=True)
for n in range(int(sys.argv[3])):
    with db.write() as s:
        s.execute(sa.text("INSERT INTO t VALUES (:w, :n, :p)"), {"w": sys.argv[2], "n": n, "p": "x" * 2000})
    print(n, flush=True)
"""


def _writer(file: Path, who: str, times: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(file), who, str(times)], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE)


def test_a_sqlite_file_is_whole_after_kill_in_the_middle_of_writing(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    writer = _writer(file, "a", 1_000_000)
    assert writer.stdout is not None
    said = [writer.stdout.readline() for _ in range(60)]
    writer.kill()
    said += writer.stdout.read().splitlines()
    writer.wait()
    acknowledged = max(int(line) for line in said if line.strip().isdigit())
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT max(n), count(*) FROM t").fetchone() >= (acknowledged, acknowledged + 1)


def test_two_processes_write_one_sqlite_file_and_no_write_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    writers = [_writer(file, who, 150) for who in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT who, count(*) FROM t GROUP BY who").fetchall() == [("a", 150), ("b", 150)]


def test_a_busy_sqlite_writer_of_another_process_does_not_stop_this_process(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    with db.write() as session:
        session.execute(sa.text("CREATE TABLE t (n INTEGER)"))
    other = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    beats: list[float] = []

    def beat() -> None:
        while True:
            beats.append(time.monotonic())
            eventlet.sleep(0.01)

    beating = eventlet.spawn(beat)
    began = time.monotonic()
    with pytest.raises(errors.Unavailable), db.write():
        pass
    assert 1.5 < time.monotonic() - began < 3.5
    beating.kill()
    other.execute("ROLLBACK")
    other.close()
    assert max(b - a for a, b in pairwise(beats)) < 0.4
    with db.write() as session:
        session.execute(sa.text("INSERT INTO t VALUES (1)"))
    db.close()


@pytest.mark.faults
def test_a_process_whose_database_is_away_at_the_start_waits_and_then_serves(
        lab_on_postgres: Lab, postgres: Postgres) -> None:
    lab = lab_on_postgres
    process = lab.process()
    process.terminate()
    postgres.stop()
    process = lab.processes.room("lab", {
        "HUB_HOME": str(lab.home), "AMQP_URI": lab.vhost.amqp_uri, "PYTHONPATH": process_path(), **lab.environ},
        wait_s=None)
    eventually(lambda: "database_away" in process.log(), 20)
    assert process.alive()
    postgres.start()
    process.wait_ready(20)


def process_path() -> str:
    from tests.service.chassis.laboratory import LAB_PATH

    return LAB_PATH


@pytest.mark.parametrize("yielding", [False, True])
def test_a_long_turn_on_sqlite_lets_others_run_only_where_it_says_so(tmp_path: Path, yielding: bool) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    ran: list[str] = []
    other = eventlet.spawn(ran.append, "somebody else")
    with db.write(yielding=yielding) as session:
        session.execute(sa.text("CREATE TABLE t (n INTEGER)"))
        assert ran == (["somebody else"] if yielding else [])
        session.execute(sa.text("INSERT INTO t VALUES (1)"))
    other.wait()
    with db.read() as session:
        assert session.execute(sa.text("SELECT n FROM t")).scalars().all() == [1]
    db.close()


def test_a_transaction_that_lets_others_run_is_still_one(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    with db.write() as session:
        session.execute(sa.text("CREATE TABLE t (n INTEGER)"))
    counted: list[int] = []

    def look() -> None:
        with db.read() as session:
            counted.append(session.execute(sa.text("SELECT count(*) FROM t")).scalar_one())

    def half_done() -> None:
        with db.write(yielding=True) as session:
            session.execute(sa.text("INSERT INTO t VALUES (1)"))
            looking.append(eventlet.spawn(look))
            session.execute(sa.text("INSERT INTO t VALUES (2)"))
            assert not counted, "it was let into the midst of the transaction"
            raise LookupError

    looking: list[eventlet.greenthread.GreenThread] = []
    with pytest.raises(LookupError):
        half_done()
    looking[0].wait()
    assert counted == [0]
    db.close()
