"""One key, one effect: the answer to a mutating request is kept in the transaction of its effect."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.database import CHASSIS, Json, UtcDateTime, utcnow
from chassis.inbox import insert_if_absent
from contracts.errors import Conflict, IdempotencyMismatch

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
        """
        return insert_if_absent(session, IDEMPOTENCY, principal=self.principal, operation=self.operation, key=self.key,
                                fingerprint=self.fingerprint, answer=None, created_at=utcnow())

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
        return session.connection().execute(_FIND, self._place).first() is not None


def prune(session: Session, *, before: dt.datetime, limit: int = 1000) -> int:
    """Forget up to `limit` answers older than `before`."""
    table = IDEMPOTENCY.c
    old = sa.select(table.principal, table.operation, table.key).where(table.created_at < before).limit(limit)
    result: Any = session.execute(IDEMPOTENCY.delete().where(
        sa.tuple_(table.principal, table.operation, table.key).in_(old)))
    return int(result.rowcount)
