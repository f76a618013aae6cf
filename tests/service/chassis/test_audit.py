"""The audit trail on both databases: sealed once, and every kind of damage named."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import eventlet
import pytest
import sqlalchemy as sa
from alembic import command
from eventlet import tpool
from sqlalchemy.exc import DatabaseError
from structlog.testing import capture_logs

from chassis import failpoints, migrations
from chassis.audit import trail, verification, witness
from chassis.audit.chain import HASHED, Checkpoint, Keys, hash_of
from chassis.audit.sealer import Sealer, oldest_unsealed
from chassis.audit.tables import AUDIT_CHAIN, AUDIT_CHECKPOINT, AUDIT_ENTRY, TABLES, guards
from chassis.context import Subject
from chassis.crypto import MasterKey
from chassis.database import Database, utcnow
from chassis.failpoints import FailpointReached
from contracts.errors import Unavailable
from tests.support.postgres import Postgres

SOMEBODY = Subject("u-1", "user", "somebody", via="s-1")
ENTRIES, BATCH = 20, 10


@dataclass
class Kept:
    """One trail, its checkpoints, and what a test does to it."""

    db: Database
    uri: str
    keys: Keys
    folder: Path

    @property
    def file(self) -> Path:
        return witness.path_of(self.folder, "lab")

    def sealer(self, db: Database | None = None) -> Sealer:
        return Sealer(db or self.db, self.keys, "lab", self.folder)

    def write(self, count: int = 1) -> None:
        for n in range(count):
            with self.db.write() as session:
                trail.record(session, "lab.do", by=SOMEBODY, entity="note", record_id=f"n-{n}", details={"n": n})

    def release(self) -> None:
        """Let the lease of a sealer that is gone run out."""
        self.run("UPDATE audit_chain SET lease_until = NULL")

    def rows(self, query: Any) -> list[Any]:
        with self.db.read() as session:
            return list(session.execute(query).mappings())

    def run(self, *statements: Any) -> None:
        with self.db.write() as session:
            for statement in statements:
                session.execute(sa.text(statement) if isinstance(statement, str) else statement)

    def verify(self, **other: Any) -> verification.Report:
        db = Database(self.uri, pool_size=1)
        try:
            return verification.verify(db, "lab", other.get("keys", self.keys), other.get("file", self.file),
                                       lambda done, of: None)
        finally:
            db.close()

    def found(self, **other: Any) -> list[tuple[str, int]]:
        return [(finding.kind, finding.seq) for finding in self.verify(**other).findings]

    def unguard(self) -> None:
        """Do what an owner of the database can do: take the triggers away."""
        if self.db.is_sqlite:
            names = [row["name"] for row in self.rows(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))]
            self.run(*(f"DROP TRIGGER {name}" for name in names))
        else:
            self.run("DROP FUNCTION IF EXISTS audit_kept() CASCADE")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """A database of the lab on each engine, for all tests of this file."""
    folder = tmp_path_factory.mktemp("audit")
    uri = f"sqlite:///{folder / 'lab.sqlite'}"
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        name = postgres.create_database()
        uri = postgres.uri(name)
    migrations.upgrade("lab", uri)
    db = Database(uri, pool_size=3)
    yield Kept(db, uri, Keys(MasterKey.create(folder / "master.key"), "lab"), folder)
    db.close()
    if request.param == "postgresql":
        postgres.drop_database(name)


@pytest.fixture
def kept(made: Kept) -> Iterator[Kept]:
    """An empty trail, guarded as its migration left it."""
    made.unguard()
    made.run(*(table.delete() for table in TABLES),
             AUDIT_CHAIN.insert().values(id=1, seq=0, hash="0" * 64),
             *guards("sqlite" if made.db.is_sqlite else "postgresql"))
    made.file.unlink(missing_ok=True)
    yield made
    failpoints.arm("")


@pytest.fixture
def sealed(kept: Kept) -> Kept:
    """Twenty entries, sealed in two batches, with the guards taken away."""
    sealer = kept.sealer()
    for _ in range(ENTRIES // BATCH):
        kept.write(BATCH)
        assert sealer.step() == BATCH
    kept.unguard()
    kept.release()
    return kept


def test_a_whole_trail_verifies_and_tells_what_was_read(sealed: Kept) -> None:
    sealed.write()
    report = sealed.verify()
    assert (report.whole, report.sealed, report.unsealed, report.unreadable) == (True, ENTRIES, 1, 0)
    assert report.checkpoints == 2 * ENTRIES // BATCH, "those of the table, and those of the file"


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", [name for name in HASHED if name != "prev"])
def test_a_changed_byte_in_any_column_is_named(sealed: Kept, column: str) -> None:
    sealed.run(f"UPDATE audit_entry SET {column} = {column} || 'x' WHERE seq = 7" if column not in ("id", "at")
               else f"UPDATE audit_entry SET {column} = '9' || substr({column}, 2) WHERE seq = 7")
    assert sealed.found() == [("changed", 7)]


def test_a_changed_link_is_named(sealed: Kept) -> None:
    sealed.run("UPDATE audit_entry SET prev = CASE substr(prev, 1, 1) WHEN '9' THEN '8' ELSE '9' END || substr(prev, 2)"
               " WHERE seq = 7")
    assert sealed.found() == [("misplaced", 7), ("changed", 7)]


def test_an_entry_changed_together_with_its_hash_no_longer_leads_to_the_next(sealed: Kept) -> None:
    entry = dict(sealed.rows(sa.select(AUDIT_ENTRY).where(AUDIT_ENTRY.c.seq == 7))[0]) | {"actor_id": "u-2"}
    sealed.run(AUDIT_ENTRY.update().where(AUDIT_ENTRY.c.seq == 7)
               .values(actor_id="u-2", hash=hash_of("lab", entry)))
    assert sealed.found() == [("misplaced", 8)]


@pytest.mark.parametrize(("gone", "found"), [("= 7", [("missing", 7)]), ("< 4", [("missing", 1)]),
                                             ("BETWEEN 7 AND 9", [("missing", 7)])])
def test_deleted_entries_are_named(sealed: Kept, gone: str, found: list[tuple[str, int]]) -> None:
    sealed.run(f"DELETE FROM audit_entry WHERE seq {gone}")
    assert sealed.found() == found


def test_entries_that_changed_places_are_named(sealed: Kept) -> None:
    sealed.run("UPDATE audit_entry SET seq = -7 WHERE seq = 7", "UPDATE audit_entry SET seq = 7 WHERE seq = 8",
               "UPDATE audit_entry SET seq = 8 WHERE seq = -7")
    assert sealed.found() == [("misplaced", 7), ("misplaced", 8), ("misplaced", 9)]


def test_an_end_that_was_cut_off_is_named(sealed: Kept) -> None:
    sealed.run("DELETE FROM audit_entry WHERE seq > 15")
    assert sealed.found() == [("shortened", 16)]


def _cut_off_clean(kept: Kept) -> None:
    hash = kept.rows(sa.select(AUDIT_ENTRY.c.hash).where(AUDIT_ENTRY.c.seq == BATCH))[0]["hash"]
    kept.run(f"DELETE FROM audit_entry WHERE seq > {BATCH}", f"DELETE FROM audit_checkpoint WHERE seq > {BATCH}",
             AUDIT_CHAIN.update().values(seq=BATCH, hash=hash))


def test_an_end_cut_off_with_its_checkpoints_is_named_by_the_file_and_by_a_copy_of_it(sealed: Kept) -> None:
    copy = sealed.folder / "copy"
    copy.write_bytes(sealed.file.read_bytes())
    _cut_off_clean(sealed)
    assert sealed.found() == [("shortened", BATCH + 1)]
    sealed.file.unlink()
    assert sealed.found() == [("unwitnessed", BATCH)]
    assert sealed.found(file=copy) == [("shortened", BATCH + 1)]


def test_an_end_cut_off_and_sealed_over_is_named(sealed: Kept) -> None:
    _cut_off_clean(sealed)
    sealed.write(BATCH)
    assert sealed.sealer().step() == BATCH
    assert sealed.found() == [("rewritten", ENTRIES)]


def test_a_trail_written_anew_from_an_entry_on_is_contradicted_by_every_checkpoint(sealed: Kept) -> None:
    _write_anew(sealed, 7)
    assert set(sealed.found()) == {("rewritten", 10), ("rewritten", 20)}


def test_a_trail_written_anew_with_checkpoints_of_another_key_has_forged_ones(sealed: Kept) -> None:
    _write_anew(sealed, 17)
    other = Keys(MasterKey.create(sealed.folder / f"{sealed.db.is_sqlite}.key"), "lab")
    last = sealed.rows(sa.select(AUDIT_ENTRY).where(AUDIT_ENTRY.c.seq == ENTRIES))[0]
    made = other.sign(ENTRIES, last["hash"], last["at"])
    sealed.run(AUDIT_CHECKPOINT.update().where(AUDIT_CHECKPOINT.c.seq == ENTRIES)
               .values(hash=made.hash, kid=made.kid, signature=made.signature))
    assert set(sealed.found()) == {("forged", ENTRIES), ("rewritten", ENTRIES)}


def _write_anew(kept: Kept, first: int) -> None:
    """Change an entry and make everything after it fit, as somebody would who knows how it is done."""
    entries = [dict(row) for row in kept.rows(sa.select(AUDIT_ENTRY).order_by(AUDIT_ENTRY.c.seq))]
    entries[first - 1]["actor_id"] = "u-2"
    for before, entry in zip(entries[first - 2:], entries[first - 1:], strict=False):
        entry["prev"] = before["hash"]
        entry["hash"] = hash_of("lab", entry)
        kept.run(AUDIT_ENTRY.update().where(AUDIT_ENTRY.c.seq == entry["seq"])
                 .values(actor_id=entry["actor_id"], prev=entry["prev"], hash=entry["hash"]))
    kept.run(AUDIT_CHAIN.update().values(hash=entries[-1]["hash"]))


def test_an_entry_put_in_at_the_end_has_no_checkpoint(sealed: Kept) -> None:
    last = dict(sealed.rows(sa.select(AUDIT_ENTRY).where(AUDIT_ENTRY.c.seq == ENTRIES))[0])
    invented = last | {"id": "0" * 36, "seq": ENTRIES + 1, "prev": last["hash"]}
    invented["hash"] = hash_of("lab", invented)
    sealed.run(AUDIT_ENTRY.insert().values(invented), AUDIT_CHAIN.update().values(seq=21, hash=invented["hash"]))
    assert sealed.found() == [("unwitnessed", ENTRIES + 1)]


def test_a_checkpoint_of_another_service_or_a_changed_one_is_forged(sealed: Kept) -> None:
    genuine = Checkpoint.read(sealed.file.read_text().splitlines()[0])
    others = Keys(MasterKey.load(sealed.folder / "master.key"), "other").sign(BATCH, genuine.hash, genuine.at)
    witness.append(sealed.file, others)
    witness.append(sealed.file, replace(genuine, seq=99))
    assert sealed.found() == [("forged", BATCH), ("forged", 99)]


def test_a_checkpoint_that_a_power_failure_cut_off_accuses_nobody(sealed: Kept) -> None:
    with sealed.file.open("ab") as file:
        file.write(b'{"at":"2026')
    sealed.write()
    assert sealed.sealer().step() == 1
    report = sealed.verify()
    assert (report.whole, report.unreadable) == (True, 1)


def test_bytes_flipped_in_the_file_of_a_sqlite_database_are_named(sealed: Kept) -> None:
    if not sealed.db.is_sqlite:
        return  # PostgreSQL's files have checksums of their own
    sealed.run("UPDATE audit_entry SET details = '{\"n\":\"planted\"}' WHERE seq = 7")
    sealed.run(AUDIT_ENTRY.update().where(AUDIT_ENTRY.c.seq == 7).values(hash=_rehashed(sealed, 7)))
    sealed.db.close()
    database = sealed.folder / "lab.sqlite"
    assert b"planted" in database.read_bytes(), "the log was carried over when the last connection was closed"
    for flipped in (b"plantod", b"plant\xffd"):
        database.write_bytes(database.read_bytes().replace(b"planted", flipped))
        assert ("changed", 7) in sealed.found()
        database.write_bytes(database.read_bytes().replace(flipped, b"planted"))
    assert ("changed", 7) not in sealed.found()


def _rehashed(kept: Kept, seq: int) -> str:
    return hash_of("lab", dict(kept.rows(sa.select(AUDIT_ENTRY).where(AUDIT_ENTRY.c.seq == seq))[0]))


# --- the guards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", [
    "UPDATE audit_entry SET actor_id = 'u-2' WHERE seq = 1", "UPDATE audit_entry SET seq = 9 WHERE seq = 1",
    "UPDATE audit_entry SET actor_id = 'u-2', seq = 9 WHERE seq IS NULL", "DELETE FROM audit_entry",
    "UPDATE audit_checkpoint SET hash = ''", "DELETE FROM audit_checkpoint",
])
def test_the_database_itself_refuses_to_change_what_is_written(kept: Kept, statement: str) -> None:
    kept.write()
    assert kept.sealer().step() == 1
    kept.write()
    with pytest.raises(DatabaseError, match="never changed or deleted"):
        kept.run(statement)
    assert kept.verify().whole


# --- the sealer -------------------------------------------------------------------------------------------------------


def test_two_sealers_side_by_side_make_one_chain(kept: Kept) -> None:
    rivals = [replace(kept, db=Database(kept.uri, pool_size=2)) for _ in range(2)]
    writing = [True]

    def seal(rival: Kept) -> int:
        done, sealer = 0, rival.sealer()
        while writing or rival.rows(oldest_unsealed()):
            try:
                done += sealer.step()
                # It gives the lease up at once, so that the two meet as often as they can.
                rival.release()
            except Unavailable:
                continue
        return done

    # In threads of the operating system, as two processes would be: the database alone stands between them.
    sealing = [eventlet.spawn(tpool.execute, seal, rival) for rival in rivals]
    for _ in range(20):
        kept.write(10)
        eventlet.sleep(0.005)
    writing.clear()
    shares = [each.wait() for each in sealing]
    for rival in rivals:
        rival.db.close()
    assert sum(shares) == 200
    report = kept.verify()
    assert (report.whole, report.sealed) == (True, 200)


def test_while_one_process_seals_another_leaves_it_alone_and_takes_over_when_it_is_gone(kept: Kept) -> None:
    first, second = kept.sealer(), kept.sealer()
    kept.write()
    assert first.step() == 1
    kept.write()
    assert second.step() == 0
    kept.run(AUDIT_CHAIN.update().values(lease_until=utcnow() - dt.timedelta(seconds=1)))
    assert second.step() == 1
    assert kept.verify().whole


def test_killed_after_the_effect_or_while_it_seals_the_next_process_seals_it_once(kept: Kept) -> None:
    kept.write(3)
    failpoints.arm("audit.before_commit=raise")
    with pytest.raises(FailpointReached):
        kept.sealer().step()
    assert kept.verify().sealed == 0
    kept.release()
    assert kept.sealer().step() == 3
    assert kept.verify().whole


def test_killed_before_the_checkpoint_reached_the_file_the_next_process_writes_it(kept: Kept) -> None:
    kept.write(3)
    failpoints.arm("audit.before_witness=raise")
    with pytest.raises(FailpointReached):
        kept.sealer().step()
    assert kept.found() == [("unwitnessed", 3)]
    _start_and_stop(kept.sealer())
    assert kept.verify().whole
    assert kept.verify().checkpoints == 2


def test_a_checkpoint_that_could_not_be_written_is_written_later(kept: Kept) -> None:
    kept.file.mkdir()
    sealer = kept.sealer()
    kept.write()
    assert sealer.step() == 1
    kept.file.rmdir()
    assert sealer.step() == 0
    assert kept.verify().whole


def _start_and_stop(sealer: Sealer) -> None:
    sealer.stop()
    sealer.run()


def test_a_disk_that_hangs_keeps_nobody_waiting_but_the_sealer(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.write()
    freed, flushed = eventlet.patcher.original("threading").Event(), os.fsync

    def hang(descriptor: int) -> None:
        assert freed.wait(5), "the greenlet that frees it had no turn"
        flushed(descriptor)

    monkeypatch.setattr(os, "fsync", hang)
    sealing = eventlet.spawn(kept.sealer().step)
    eventlet.spawn_after(0.05, freed.set)
    assert sealing.wait() == 1
    assert kept.verify().whole


def test_a_process_that_starts_while_another_seals_raises_no_false_alarm(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, read = kept.sealer(), witness.last
    kept.write()
    other.step()

    def meanwhile(file: Path) -> Checkpoint | None:
        kept.write()
        assert other.step() == 1
        found = read(file)
        kept.write()
        assert other.step() == 1
        return found

    monkeypatch.setattr(witness, "last", meanwhile)
    with capture_logs() as said:
        _start_and_stop(kept.sealer())
    assert [line["event"] for line in said if line["log_level"] == "error"] == []
    assert kept.verify().whole


def test_unsealed_entries_are_found_by_an_index(sealed: Kept) -> None:
    explain = "EXPLAIN QUERY PLAN " if sealed.db.is_sqlite else "EXPLAIN "
    query = "SELECT id FROM audit_entry WHERE seq IS NULL ORDER BY id LIMIT 500"
    with sealed.db.read() as session:
        if not sealed.db.is_sqlite:
            session.execute(sa.text("SET enable_seqscan = off"))
        plan = " ".join(str(row) for row in session.execute(sa.text(explain + query)))
    assert "ix_audit_entry_unsealed" in plan
    assert "SORT" not in plan.upper().replace("B-TREE", "SORT")


def test_what_was_written_is_kept_as_it_was_told(kept: Kept) -> None:
    with kept.db.write() as session:
        trail.record(session, "lab.do", by=None, entity="note", record_id="\x00" + "9" * 100,
                     details={"名": "上海", "big": 2**60, "nan": float("nan"), "half": "\ud800"})
    assert kept.sealer().step() == 1
    entry = kept.rows(sa.select(AUDIT_ENTRY))[0]
    assert json.loads(entry["details"]) == {"名": "上海", "big": str(2**60), "nan": "nan", "half": "\\ud800"}
    assert (entry["actor_id"], entry["actor_kind"], len(entry["record_id"])) == ("", "unknown", 80)
    assert kept.verify().whole


def test_an_effect_that_is_taken_back_leaves_no_entry(kept: Kept) -> None:
    with kept.db.write() as session:
        trail.record(session, "lab.do", by=SOMEBODY)
        session.rollback()
    assert kept.rows(sa.select(AUDIT_ENTRY)) == []


def test_its_migration_can_be_undone_and_done_again(db_uri: str) -> None:
    migrations.make_folder(db_uri)
    migrations.upgrade("tickets", db_uri)
    command.downgrade(migrations.config("tickets", db_uri), "0001")
    migrations.upgrade("tickets", db_uri)
    db = Database(db_uri, pool_size=1)
    with db.write() as session:
        trail.record(session, "lab.do", by=SOMEBODY)
    with pytest.raises(DatabaseError, match="never changed or deleted"), db.write() as session:
        session.execute(AUDIT_ENTRY.delete())
    db.close()
