"""One key, one effect: the answer to a mutating request is kept in the transaction of its effect.

Work that outlasts a transaction, because it calls the outside or hashes a password, holds its key by a lease instead:
`lease` in a transaction before the work, `settle` in that of the effect, `release` where there was none.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import eventlet
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from chassis import owner, telemetry
from chassis.database import CHASSIS, Database, Json, UtcDateTime, utcnow
from chassis.inbox import insert_if_absent
from contracts.errors import Conflict, DuplicateInFlight, IdempotencyMismatch, Unavailable

log = telemetry.logger(__name__)

IDEMPOTENCY = sa.Table(
    "idempotency", CHASSIS,
    sa.Column("principal", sa.String(80), primary_key=True),
    sa.Column("operation", sa.String(120), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False, comment="keyed hash of the canonical body"),
    sa.Column("answer", Json, comment="as it travels: sensitive fields sealed; null where a secret was shown once"),
    sa.Column("created_at", UtcDateTime, nullable=False, index=True),
)


# Built once: every change of the hub runs these, and building a statement costs more than SQLite takes to run it.
_HERE = sa.and_(IDEMPOTENCY.c.principal == sa.bindparam("at_principal"),
                IDEMPOTENCY.c.operation == sa.bindparam("at_operation"), IDEMPOTENCY.c.key == sa.bindparam("at_key"))
_FIND = sa.select(IDEMPOTENCY.c.fingerprint, IDEMPOTENCY.c.answer).where(_HERE)
_KEEP = IDEMPOTENCY.update().where(_HERE).values(answer=sa.bindparam("answer"))
_LOCK = _FIND.with_for_update()
_TAKE_OVER = IDEMPOTENCY.update().where(_HERE).values(
    answer=sa.bindparam("answer"), fingerprint=sa.bindparam("asked"), created_at=sa.bindparam("now"))
_FREE = IDEMPOTENCY.delete().where(_HERE)

_LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL: somebody else held the lock for the whole of lock_timeout."""

_HOLDER, _PROCESS, _UNTIL = "$holder", "$process", "$until"
"""What stands in the place of an answer while it is being made; no field of a contract has such a name."""
_FREE_AGAIN_S = 1.0


@dataclass(frozen=True)
class Claim:
    """A principal's use of one key for one operation."""

    principal: str
    operation: str
    key: str
    fingerprint: str

    @property
    def _place(self) -> dict[str, Any]:
        return {"at_principal": self.principal, "at_operation": self.operation, "at_key": self.key}

    def take(self, session: Session) -> bool:
        """Take the key for this transaction; a rival with the same key waits here until the transaction ends.

        Returns:
            False if the effect has been had before: then `earlier_answer` tells it.

        Raises:
            DuplicateInFlight: the rival took longer than a lock is waited for.
        """
        try:
            return self._insert(session, None, utcnow())
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) == _LOCK_NOT_AVAILABLE:
                raise self._in_flight() from error
            raise

    def earlier_answer(self, session: Session) -> Mapping[str, Any]:
        """Return the answer kept for this key.

        Raises:
            IdempotencyMismatch: the key was used with another body.
            Conflict: the answer held a secret that is shown once.
        """
        found = session.connection().execute(_FIND, self._place).one()
        if found.fingerprint != self.fingerprint:
            raise IdempotencyMismatch("This idempotency key was used before with another body", key=self.key)
        if found.answer is None:
            raise Conflict("This was done before, and its answer held a secret that is shown only once", key=self.key)
        answer: Mapping[str, Any] = found.answer
        return answer

    def keep(self, session: Session, answer: Mapping[str, Any]) -> None:
        """Keep the packed answer for a replay."""
        session.connection().execute(_KEEP, self._place | {"answer": dict(answer)})

    def known(self, session: Session) -> bool:
        """Tell whether the effect has been had before, without taking the key."""
        found = session.connection().execute(_FIND, self._place).first()
        return found is not None and _holder(found.answer) is None

    def lease(self, session: Session, holder: str, *, for_s: float) -> bool:
        """Take the key beyond this transaction.

        A holder that dies loses it to whoever asks after `for_s` seconds, at once if its process is known to be gone.

        Returns:
            False if the effect has been had before: then `earlier_answer` tells it.

        Raises:
            DuplicateInFlight: somebody else holds it.
            IdempotencyMismatch: somebody else holds it for another body.
        """
        now = utcnow()
        until = (now + dt.timedelta(seconds=for_s)).isoformat()
        mine = {_HOLDER: holder, _PROCESS: owner.this_process(), _UNTIL: until}
        if self._insert(session, mine, now):
            return True
        found = session.connection().execute(_LOCK, self._place).first()
        if found is None:
            raise self._in_flight()
        if _holder(found.answer) is None:
            return False
        if dt.datetime.fromisoformat(found.answer[_UNTIL]) > now and not owner.gone([found.answer.get(_PROCESS, "")]):
            if found.fingerprint != self.fingerprint:
                raise IdempotencyMismatch("This idempotency key is in use with another body", key=self.key)
            raise self._in_flight()
        session.connection().execute(_TAKE_OVER, self._place | {"answer": mine, "asked": self.fingerprint,
                                                                  "now": now})
        return True

    def settle(self, session: Session, holder: str, answer: Mapping[str, Any] | None) -> None:
        """Put the packed answer in place of the lease; None where it holds a secret that is shown once.

        Raises:
            DuplicateInFlight: the lease has gone to somebody else, who will have the effect. Undo this one.
        """
        if not self._holds(session, holder):
            raise self._in_flight()
        session.connection().execute(_KEEP, self._place | {"answer": None if answer is None else dict(answer)})

    def release(self, session: Session, holder: str) -> None:
        """Free the key, if it is still held: there was no effect."""
        if self._holds(session, holder):
            session.connection().execute(_FREE, self._place)

    def free(self, db: Database, holder: str, *, within_s: float) -> None:
        """Release in a transaction of its own; while the database is away, in the background, for at most so long."""
        if not self._freed(db, holder):
            log.warning("key_still_held", operation=self.operation)
            eventlet.spawn_n(self._free_later, db, holder, time.monotonic() + within_s)

    def _free_later(self, db: Database, holder: str, until: float) -> None:
        while time.monotonic() < until:
            time.sleep(_FREE_AGAIN_S)
            if self._freed(db, holder):
                return

    def _freed(self, db: Database, holder: str) -> bool:
        try:
            with db.write() as session:
                self.release(session, holder)
        except Unavailable:
            return False
        return True

    def _insert(self, session: Session, answer: Mapping[str, Any] | None, now: dt.datetime) -> bool:
        return insert_if_absent(session, IDEMPOTENCY, principal=self.principal, operation=self.operation, key=self.key,
                                fingerprint=self.fingerprint, answer=answer, created_at=now)

    def _holds(self, session: Session, holder: str) -> bool:
        found = session.connection().execute(_LOCK, self._place).first()
        return found is not None and _holder(found.answer) == holder

    def _in_flight(self) -> DuplicateInFlight:
        return DuplicateInFlight("The same request is being worked on", retry_after_s=1)


def _holder(answer: Mapping[str, Any] | None) -> str | None:
    return answer.get(_HOLDER) if answer else None


def prune(session: Session, *, before: dt.datetime, limit: int = 1000) -> int:
    """Forget up to `limit` answers older than `before`."""
    table = IDEMPOTENCY.c
    old = sa.select(table.principal, table.operation, table.key).where(table.created_at < before).limit(limit)
    result: Any = session.execute(IDEMPOTENCY.delete().where(
        sa.tuple_(table.principal, table.operation, table.key).in_(old)))
    return int(result.rowcount)
