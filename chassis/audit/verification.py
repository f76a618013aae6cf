"""Reading the chain again: what was changed, taken out, moved or cut off is named.

Three passes, each a page at a time and in little memory: the entries in their order, the checkpoints of the table, and
those of the file. The service may go on writing and sealing meanwhile; what comes after the start is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from chassis.audit import witness
from chassis.audit.chain import Checkpoint, Keys, hash_of
from chassis.audit.tables import AUDIT_CHAIN, AUDIT_CHECKPOINT, AUDIT_ENTRY, GENESIS, SEALED, THE_CHAIN, UNSEALED
from chassis.database import Database

PAGE = 2000
MOST_FINDINGS = 100
"""Findings that are kept; a chain that was written anew has one for every entry."""

Kind = Literal["changed", "missing", "misplaced", "shortened", "rewritten", "forged", "unwitnessed"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: *changed*: the entry's content does not match its hash; *missing*: there is no entry of that number;
            *misplaced*: the entry is whole, but does not follow the one before it; *shortened*: the end was cut off;
            *rewritten*: a checkpoint swears to another entry; *forged*: a checkpoint that nobody of ours signed;
            *unwitnessed*: entries that no checkpoint speaks for, or no file to hold the table against.
        seq: number of the entry.
        text: what happened, for a person.
        entry_id: its id, where it is there.
    """

    kind: Kind
    seq: int
    text: str
    entry_id: str = ""


@dataclass
class Report:
    """What was read of one service's trail.

    Attributes:
        sealed: entries of the chain that were read.
        unsealed: entries that the sealer has not come to yet.
        checkpoints: genuine ones, of table and file together.
        unreadable: lines of the file that are no checkpoints, such as one that a power failure cut off.
        findings: the first `MOST_FINDINGS`.
        found: how many there are in all.
    """

    service: str
    sealed: int = 0
    unsealed: int = 0
    checkpoints: int = 0
    unreadable: int = 0
    findings: list[Finding] = field(default_factory=list)
    found: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.found

    def add(self, kind: Kind, seq: int, text: str, entry_id: str = "") -> None:
        """Note a finding."""
        self.found += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(kind, seq, text, entry_id))


@dataclass(frozen=True)
class _End:
    """Where the trail ended when the reading began."""

    entry: int
    checkpoint: int
    unsealed: int
    chain: int | None
    chain_hash: str | None


def verify(db: Database, service: str, keys: Keys, file: Path, told: Callable[[int, int], None]) -> Report:
    """Read a service's trail from the first entry to the last, and hold it against its checkpoints.

    Args:
        db: of the service; a `Database` that nobody else uses.
        service: its name.
        keys: that its checkpoints were signed with.
        file: of its checkpoints.
        told: called after each page with how many entries have been read, and how many there are.

    Raises:
        Unavailable: the database is away.
        sqlalchemy.exc.SQLAlchemyError: it cannot be read, or is not migrated.
        OSError: the file is there and cannot be read.
    """
    _read_whatever_is_there(db)
    report = Report(service)
    # The file's end before the table's: what is sealed in between is then in the table alone, which is no harm.
    size = file.stat().st_size if file.exists() else None
    end = _end(db)
    report.unsealed = end.unsealed
    last_hash = _entries(db, report, end, told)
    sworn = _sworn(db, report, keys, _of_table(db, service, end.checkpoint))
    if size is not None:
        sworn = max(sworn, _sworn(db, report, keys, _of_file(report, file, size)))
    elif end.entry:
        report.add("unwitnessed", end.entry, f"there is no file of checkpoints ({file}): whether the end was cut off "
                                             "cannot be told without a copy of it")
    _compare_ends(report, end, sworn, last_hash)
    return report


def _entries(db: Database, report: Report, end: _End, told: Callable[[int, int], None]) -> str:
    """Read every entry; return the hash of the last."""
    expected, prev = 1, GENESIS
    while page := _page(db, AUDIT_ENTRY, expected, end.entry):
        for entry in page:
            seq = entry["seq"]
            if seq != expected:
                gone = f"entry {expected} is" if seq == expected + 1 else f"entries {expected} to {seq - 1} are"
                report.add("missing", expected, f"{gone} not there")
            elif entry["prev"] != prev:
                report.add("misplaced", seq, f"entry {seq} is not the one that followed entry {seq - 1}: entries were "
                                             "moved, put in, or written anew", str(entry["id"]))
            if _hash(report.service, entry) != entry["hash"]:
                report.add("changed", seq, f"entry {seq} was changed after it was sealed", str(entry["id"]))
            expected, prev = seq + 1, entry["hash"]
            report.sealed += 1
        told(report.sealed, end.entry)
    return prev


def _hash(service: str, entry: Any) -> str:
    try:
        return hash_of(service, entry)
    except ValueError:  # nothing that the trail writes
        return ""


def _sworn(db: Database, report: Report, keys: Keys, checkpoints: Iterable[Checkpoint]) -> int:
    """Hold the table against checkpoints; return the highest number that a genuine one swears to."""
    highest, left = 0, iter(checkpoints)
    while some := list(islice(left, PAGE)):
        standing = _hashes(db, [each.seq for each in some])
        for each in some:
            if not keys.genuine(each):
                report.add("forged", each.seq, f"the checkpoint at entry {each.seq} of {each.at} is not signed by "
                                               "this hub")
                continue
            report.checkpoints += 1
            highest = max(highest, each.seq)
            if standing.get(each.seq, each.hash) != each.hash:
                report.add("rewritten", each.seq, f"the checkpoint of {each.at} swears to another entry {each.seq}: "
                                                  "entries up to it were written anew")
    return highest


def _compare_ends(report: Report, end: _End, sworn: int, last_hash: str) -> None:
    if sworn > end.entry:
        gone = f"entry {sworn} is" if sworn == end.entry + 1 else f"entries {end.entry + 1} to {sworn} are"
        report.add("shortened", end.entry + 1, f"{gone} gone: a checkpoint swears to entry {sworn}, and the table "
                                               f"ends with entry {end.entry}")
    elif sworn < end.entry:
        report.add("unwitnessed", sworn + 1, f"no checkpoint speaks for what follows entry {sworn}: entries were put "
                                             "in, or checkpoints taken out")
    if (end.chain, end.chain_hash) != (end.entry, last_hash) and sworn <= end.entry:
        report.add("misplaced", end.entry, f"the sealer goes on from entry {end.chain}, and the table ends with entry "
                                           f"{end.entry}")


# --- reading ----------------------------------------------------------------------------------------------------------


def _end(db: Database) -> _End:
    highest = [sa.func.coalesce(last.scalar_subquery(), 0) for last in (
        sa.select(sa.func.max(AUDIT_ENTRY.c.seq)).where(SEALED), sa.select(sa.func.max(AUDIT_CHECKPOINT.c.seq)))]
    unsealed = sa.select(sa.func.count()).select_from(AUDIT_ENTRY).where(UNSEALED).scalar_subquery()
    chain = [sa.select(column).where(AUDIT_CHAIN.c.id == THE_CHAIN).scalar_subquery()
             for column in (AUDIT_CHAIN.c.seq, AUDIT_CHAIN.c.hash)]
    with db.read() as session:
        # One statement: on PostgreSQL two would see two moments.
        found: Any = session.execute(sa.select(*highest, unsealed, *chain)).one()
    return _End(*found)


def _page(db: Database, table: sa.Table, first: int, last: int) -> Sequence[sa.RowMapping]:
    query = sa.select(table).where(table.c.seq >= first, table.c.seq <= last).order_by(table.c.seq).limit(PAGE)
    with db.read() as session:
        return session.execute(query).mappings().all()


def _of_table(db: Database, service: str, last: int) -> Iterator[Checkpoint]:
    first = 1
    while page := _page(db, AUDIT_CHECKPOINT, first, last):
        yield from (Checkpoint(service, **row) for row in page)
        first = page[-1]["seq"] + 1


def _of_file(report: Report, file: Path, size: int) -> Iterator[Checkpoint]:
    for each in witness.read(file, size):
        if isinstance(each, Checkpoint):
            yield each
        else:
            report.unreadable += 1


def _hashes(db: Database, numbers: Sequence[int]) -> dict[int, str]:
    query = sa.select(AUDIT_ENTRY.c.seq, AUDIT_ENTRY.c.hash).where(AUDIT_ENTRY.c.seq.in_(numbers))
    with db.read() as session:
        return {row.seq: row.hash for row in session.execute(query)}


def _read_whatever_is_there(db: Database) -> None:
    """Let a damaged text of SQLite be read, so that its entry can be named; sqlite3 would refuse the whole page."""
    if db.is_sqlite:
        @sa.event.listens_for(db.engine, "connect")
        def lenient(connection: Any, _record: Any) -> None:
            connection.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
