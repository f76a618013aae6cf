"""Reconciliation keeps what a target listed, and what looked wrong in it, while its run is open."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.database import Id

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "listed",
        sa.Column("run_id", Id, sa.ForeignKey("run.id"), primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("external_id", sa.String(200), nullable=False),
        sa.Column("local_id", sa.String(64), comment="of ours, if it is bound"),
        sa.Column("own_key", sa.String(64), comment="keyed hash of our id, or the natural key, that it carries"),
        sa.Column("content", sa.String(64), nullable=False, comment="keyed hash of what it tells but for ids"),
        sa.Column("active", sa.Boolean, nullable=False),
    )
    op.create_index("ix_listed_external", "listed", ["run_id", "external_id"])
    op.create_index("ix_listed_own_key", "listed", ["run_id", "own_key"])
    op.create_index("ix_listed_content", "listed", ["run_id", "content"])
    op.create_table(
        "suspected",
        sa.Column("run_id", Id, sa.ForeignKey("run.id"), primary_key=True),
        sa.Column("id", Id, primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("local_id", sa.String(64)),
        sa.Column("external_id", sa.String(200)),
        sa.Column("candidate", sa.String(200)),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("suspected")
    op.drop_table("listed")
