"""The tables of the audit trail, and the triggers that keep hands off them.

The triggers stop a slip: a bug of ours, an UPDATE typed at a prompt. Whoever owns the database can drop them; what that
person then does is found by the chain.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from chassis.database import CHASSIS, Id, UtcDateTime

GENESIS = "0" * 64
"""What stands in the place of the hash before the first."""

THE_CHAIN = 1
"""The id of the only row of `audit_chain`."""

AUDIT_ENTRY = sa.Table(
    "audit_entry", CHASSIS,
    sa.Column("id", Id, primary_key=True),
    # Text, because it is hashed: both databases keep the same bytes.
    sa.Column("at", sa.String(27), nullable=False, comment="UTC, RFC 3339 with microseconds"),
    sa.Column("action", sa.String(120), nullable=False, comment="the operation: identity.disable_user"),
    sa.Column("outcome", sa.String(10), nullable=False, comment="done or denied"),
    sa.Column("entity", sa.String(60), nullable=False),
    sa.Column("record_id", sa.String(80), nullable=False),
    sa.Column("actor_id", sa.String(80), nullable=False, comment="empty: nobody that is known"),
    sa.Column("actor_kind", sa.String(10), nullable=False),
    sa.Column("via", sa.String(80), nullable=False, comment="session or API key"),
    sa.Column("request_id", sa.String(200), nullable=False),
    sa.Column("details", sa.Text, nullable=False, comment="canonical JSON; no values of sealed fields"),
    sa.Column("seq", sa.BigInteger, comment="place in the chain, from 1; null until sealed"),
    sa.Column("prev", sa.String(64), comment="hash of the entry before it"),
    sa.Column("hash", sa.String(64)),
)
UNSEALED = AUDIT_ENTRY.c.seq.is_(None)
SEALED = AUDIT_ENTRY.c.seq.is_not(None)
sa.Index("ix_audit_entry_unsealed", AUDIT_ENTRY.c.id, sqlite_where=UNSEALED, postgresql_where=UNSEALED)
# Without the unsealed: SQLite would look for them here, and sort them all for each batch.
sa.Index("uq_audit_entry_seq", AUDIT_ENTRY.c.seq, unique=True, sqlite_where=SEALED, postgresql_where=SEALED)

AUDIT_CHAIN = sa.Table(
    "audit_chain", CHASSIS,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False, comment="of the last entry sealed"),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("lease_owner", sa.String(64)),
    sa.Column("lease_until", UtcDateTime),
)

AUDIT_CHECKPOINT = sa.Table(
    "audit_checkpoint", CHASSIS,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("at", sa.String(27), nullable=False),
    sa.Column("kid", sa.String(16), nullable=False),
    sa.Column("signature", sa.String(100), nullable=False),
)

TABLES = (AUDIT_ENTRY, AUDIT_CHAIN, AUDIT_CHECKPOINT)

_SEALING = {"seq", "prev", "hash"}
_KEPT = tuple(column.name for column in AUDIT_ENTRY.columns if column.name not in _SEALING)
_REFUSAL = "the audit trail is never changed or deleted"


def guards(dialect: str) -> list[str]:
    """Return the statements that make the triggers: an entry is sealed once, and nothing else is ever done to it."""
    return _sqlite() if dialect == "sqlite" else _postgresql()


def unguard(dialect: str) -> list[str]:
    """Return the statements that take away what the tables do not take with them."""
    return [] if dialect == "sqlite" else ["DROP FUNCTION audit_kept()"]


def _sqlite() -> list[str]:
    other = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in _KEPT)
    when = {("audit_entry", "UPDATE"): f" WHEN OLD.seq IS NOT NULL OR NEW.seq IS NULL OR {other}"}
    return [f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}{when.get((table, verb), '')} "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            for table in ("audit_entry", "audit_checkpoint") for verb in ("UPDATE", "DELETE")]


def _postgresql() -> list[str]:
    old, new = (", ".join(f"{row}.{name}" for name in _KEPT) for row in ("OLD", "NEW"))
    when: dict[Any, str] = {("audit_entry", "UPDATE"): f"WHEN (OLD.seq IS NOT NULL OR NEW.seq IS NULL "
                                                       f"OR ({new}) IS DISTINCT FROM ({old})) "}
    kept = ("CREATE FUNCTION audit_kept() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'restrict_violation'; END $$")
    return [kept, *(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"FOR EACH {'STATEMENT' if verb == 'TRUNCATE' else 'ROW'} "
        f"{when.get((table, verb), '')}EXECUTE FUNCTION audit_kept()"
        for table in ("audit_entry", "audit_checkpoint") for verb in ("UPDATE", "DELETE", "TRUNCATE"))]
