"""The sealer chains committed entries, oldest first, and signs how far it has come.

Every process of a service runs one; a lease on the row of the chain lets one of them work, and the lock of that row
keeps the others out even where the lease has run out meanwhile. An entry waits half a second, so that a burst becomes
one commit.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from threading import Event
from typing import Any

import sqlalchemy as sa
from eventlet import tpool
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.audit import witness
from chassis.audit.chain import Checkpoint, Keys, hash_of
from chassis.audit.tables import AUDIT_CHAIN, AUDIT_CHECKPOINT, AUDIT_ENTRY, THE_CHAIN, UNSEALED
from chassis.audit.trail import instant
from chassis.database import Database, new_id, utcnow
from chassis.failpoints import failpoint
from contracts.errors import Unavailable

log = telemetry.logger(__name__)

LOOK_EVERY_S = 0.8
"""Seconds between two looks for what another process has left unsealed, so that it too is sealed within a second of its
commit; of its own entries a sealer is told."""
GATHER_S = 0.5
"""Seconds that entries gather: each is part of the chain within a second of its commit."""

BATCH = 200
"""Entries of one transaction: some twenty milliseconds, during which a process on SQLite does nothing else."""
BREATH_S = 0.02
"""Seconds between two batches of a backlog, for everyday work."""
LEASE_S = 2.0

_FREE = sa.or_(AUDIT_CHAIN.c.lease_until.is_(None), AUDIT_CHAIN.c.lease_until < sa.bindparam("now"),
               AUDIT_CHAIN.c.lease_owner == sa.bindparam("me"))
_WORK = sa.select(AUDIT_CHAIN.c.id).where(
    AUDIT_CHAIN.c.id == THE_CHAIN, _FREE, sa.exists(sa.select(sa.literal(1)).select_from(AUDIT_ENTRY).where(UNSEALED)))
_TAKE = (
    AUDIT_CHAIN.update().where(AUDIT_CHAIN.c.id == THE_CHAIN, _FREE)
    .values(lease_owner=sa.bindparam("me"), lease_until=sa.bindparam("until"))
    .returning(AUDIT_CHAIN.c.seq, AUDIT_CHAIN.c.hash)
)
_NEXT = sa.select(AUDIT_ENTRY).where(UNSEALED).order_by(AUDIT_ENTRY.c.id).limit(BATCH)
_SEAL = (
    AUDIT_ENTRY.update().where(AUDIT_ENTRY.c.id == sa.bindparam("entry"))
    .values(seq=sa.bindparam("its_seq"), prev=sa.bindparam("its_prev"), hash=sa.bindparam("its_hash"))
)
_ADVANCE = AUDIT_CHAIN.update().where(AUDIT_CHAIN.c.id == THE_CHAIN)
_LAST = sa.select(AUDIT_CHECKPOINT).order_by(AUDIT_CHECKPOINT.c.seq.desc()).limit(1)


class Sealer:
    """Chains the entries of one service."""

    def __init__(self, db: Database, keys: Keys, service: str, folder: Path) -> None:
        self.owner = new_id()
        self._db = db
        self._keys = keys
        self._service = service
        self._file = witness.path_of(folder, service)
        self._stopped, self._told_of = Event(), Event()
        self._owed: Checkpoint | None = None
        self._told = 0

    def stop(self) -> None:
        """End `run` after the batch at hand."""
        self._stopped.set()
        self._told_of.set()

    def wake(self) -> None:
        """Say that this process has committed an entry."""
        self._told_of.set()

    def run(self) -> None:
        """Seal until stopped, and once more then."""
        self._owed = self._unwitnessed()
        while not self._stopped.is_set():
            if self._told_of.wait(LOOK_EVERY_S):
                self._stopped.wait(GATHER_S)
                self._told_of.clear()
            self.catch_up()
        self.catch_up()

    def catch_up(self) -> int:
        """Seal everything that is committed; return how many entries, 0 while another process is at it."""
        sealed = count = 0
        try:
            while (count := self.step()) > 0:
                sealed += count
                if count == BATCH:
                    self._stopped.wait(BREATH_S)
        except Unavailable as error:
            log.warning("audit_unsealed", reason=error.message)
        return sealed

    def step(self) -> int:
        """Seal one batch; return how many entries.

        Raises:
            Unavailable: the database is away or locked; nothing was sealed.
        """
        self._bear_witness()
        asked = {"me": self.owner, "now": utcnow()}
        with self._db.read() as session:
            if session.execute(_WORK, asked).first() is None:
                return 0
        with self._db.write() as session:
            count, checkpoint = self._seal(session, asked)
            failpoint("audit.before_commit")
        if checkpoint is not None:
            failpoint("audit.before_witness")
            log.info("audit_checkpoint", seq=checkpoint.seq, hash=checkpoint.hash, at=checkpoint.at,
                     kid=checkpoint.kid, signature=checkpoint.signature)
            self._owed = checkpoint
            self._bear_witness()
        return count

    def _seal(self, session: Session, asked: dict[str, Any]) -> tuple[int, Checkpoint | None]:
        until = asked["now"] + dt.timedelta(seconds=LEASE_S)
        head = session.execute(_TAKE, asked | {"until": until}).one_or_none()
        entries = session.execute(_NEXT).mappings().all() if head is not None else []
        if head is None or not entries:
            return 0, None
        seq, prev = head
        sealed = []
        for entry in entries:
            seq += 1
            hash = hash_of(self._service, {**entry, "prev": prev})
            sealed.append({"entry": entry["id"], "its_seq": seq, "its_prev": prev, "its_hash": hash})
            prev = hash
        session.connection().execute(_SEAL, sealed)
        session.execute(_ADVANCE.values(seq=seq, hash=prev))
        checkpoint = self._keys.sign(seq, prev, instant(utcnow()))
        session.execute(AUDIT_CHECKPOINT.insert().values(
            seq=seq, hash=prev, at=checkpoint.at, kid=checkpoint.kid, signature=checkpoint.signature))
        return len(sealed), checkpoint

    def _bear_witness(self) -> None:
        """Write down the newest checkpoint; one that cannot be written now is written later."""
        if self._owed is None:
            return
        try:
            # A disk that hangs must keep nobody waiting but the sealer.
            tpool.execute(witness.append, self._file, self._owed)
        except OSError as error:
            if self._owed.seq != self._told:  # once for each, not at every look
                log.error("audit_checkpoint_unwritten", seq=self._owed.seq, error=type(error).__name__)
                self._told = self._owed.seq
            return
        self._owed = None

    def _unwitnessed(self) -> Checkpoint | None:
        """Return the table's last checkpoint if the file lacks it: the process before this one was killed in between.

        Says so where it is the table that lacks what the file has.
        """
        # The file first: what another process seals meanwhile is in the table before it is in the file.
        written: Checkpoint | None = tpool.execute(witness.last, self._file)
        with self._db.read() as session:
            row = session.execute(_LAST).mappings().one_or_none()
        kept = Checkpoint(self._service, **row) if row else None
        if written is not None and (kept is None or kept.seq < written.seq):
            log.error("audit_trail_shortened", table_seq=kept.seq if kept else 0, file_seq=written.seq)
            return None
        return kept if kept is not None and (written is None or written.seq < kept.seq) else None


def oldest_unsealed() -> sa.Select[str]:
    """Select since when the entry that has waited longest is unsealed, by its index."""
    return sa.select(AUDIT_ENTRY.c.at).where(UNSEALED).order_by(AUDIT_ENTRY.c.id).limit(1)
