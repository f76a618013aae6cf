"""Runs over all records of an entity, and what they find; records that are gone are known as such."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.database import Id, Json, UtcDateTime

revision = "0014"
down_revision = "0013"

UNFINISHED = "state IN ('pending', 'running', 'awaiting_approval')"
CLAIMABLE = "state IN ('pending', 'running')"


def upgrade() -> None:
    """Create the tables, and mark the records whose newest version was a deletion."""
    _run()
    _finding()
    op.execute(
        "UPDATE record SET deleted = true WHERE EXISTS (SELECT 1 FROM delivery WHERE delivery.local_id = record.id"
        " AND delivery.entity = record.entity AND delivery.op = 'delete' AND delivery.source_version = record.version)")


def _run() -> None:
    op.create_table(
        "run",
        sa.Column("id", Id, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), nullable=False),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("phase", sa.String(20)),
        sa.Column("filter", Json, nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("position", Json, nullable=False, comment="where the next page begins"),
        sa.Column("counts", Json, nullable=False),
        sa.Column("total", sa.Integer, comment="how many records it will look at, as far as can be told"),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("created_by", sa.String(80), nullable=False),
        sa.Column("approved_by", sa.String(80)),
        sa.Column("error", sa.String(1000)),
        sa.Column("failures", sa.Integer, nullable=False, comment="pages that failed since the last that did not"),
        sa.Column("lease_owner", sa.String(120)),
        sa.Column("lease_until", UtcDateTime),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False),
        sa.Column("next_run_at", UtcDateTime, comment="when the next one like it begins"),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("started_at", UtcDateTime),
        sa.Column("ended_at", UtcDateTime),
    )
    _partial("uq_run_unfinished", ["connection_id", "entity", "kind"], UNFINISHED, unique=True)
    _partial("ix_run_due", ["due_at"], CLAIMABLE)
    _partial("ix_run_next", ["next_run_at"], "next_run_at IS NOT NULL")
    for column in ("connection_id", "kind", "state"):
        op.create_index(f"ix_run_{column.removesuffix('_id')}", "run", [column, "id"])


def _partial(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(name, "run", columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _finding() -> None:
    op.create_table(
        "finding",
        sa.Column("id", Id, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("run_id", Id, sa.ForeignKey("run.id"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("local_id", sa.String(64)),
        sa.Column("external_id", sa.String(200)),
        sa.Column("candidates", Json, nullable=False),
        sa.Column("fields", Json, nullable=False),
        sa.Column("detail_sealed", sa.Text),
        sa.Column("decision", sa.String(12)),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("decided_by", sa.String(80)),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_finding_run", "finding", ["run_id", "id"])
    op.create_index("ix_finding_kind", "finding", ["run_id", "kind", "id"])
    op.create_index("ix_finding_state", "finding", ["run_id", "state", "id"])


def downgrade() -> None:
    """Drop them; what runs have found is lost."""
    op.drop_table("finding")
    op.drop_table("run")
