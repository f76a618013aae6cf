"""Go-live matching keeps keyed hashes of both sides while its run is open."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.database import Id
from chassis.migrations import add_index

revision = "0015"
down_revision = "0014"

STRONG = "kind IN ('code', 'email', 'phone', 'tax_number')"


def upgrade() -> None:
    """Create the tables, and the index by which a finding is met again in a listing."""
    add_index(op, "ix_finding_external", "finding", ["run_id", "external_id"])
    op.create_table(
        "match_key",
        sa.Column("run_id", Id, sa.ForeignKey("run.id"), primary_key=True),
        sa.Column("hash", sa.String(22), primary_key=True, comment="keyed, of kind and value: 128 bits"),
        sa.Column("side", sa.String(6), primary_key=True),
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_match_key_record", "match_key", ["run_id", "side", "kind", "id"],
                    sqlite_where=sa.text(STRONG), postgresql_where=sa.text(STRONG))
    op.create_table(
        "match_remote",
        sa.Column("run_id", Id, sa.ForeignKey("run.id"), primary_key=True),
        sa.Column("external_id", sa.String(200), primary_key=True),
        sa.Column("known_by_sealed", sa.Text, nullable=False, comment="JSON, sealed for match|run|external id"),
        sa.Column("active", sa.Boolean, nullable=False),
    )
    op.create_table(
        "match_pair",
        sa.Column("run_id", Id, sa.ForeignKey("run.id"), primary_key=True),
        sa.Column("local_id", sa.String(64), primary_key=True),
        sa.Column("external_id", sa.String(200), primary_key=True),
        sa.Column("kind", sa.String(10), primary_key=True),
        sa.Column("others", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_match_pair_external", "match_pair", ["run_id", "external_id", "local_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_finding_external", "finding")
    for table in ("match_pair", "match_remote", "match_key"):
        op.drop_table(table)
