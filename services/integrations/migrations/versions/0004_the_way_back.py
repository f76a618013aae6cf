"""The way back: what we wrote ourselves, what was seen last, conflicts for a person, messages that were taken in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.database import Id, Json, UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables. What was seen before is not known, so the next change there is told as a whole."""
    op.add_column("sighting", sa.Column("changed_at", UtcDateTime, comment="when it changed, as the target says"))
    op.add_column("sighting", sa.Column(
        "state_sealed", sa.Text, comment="sealed: the record as it was seen or written last, of entities that we write"
                                         " too"))
    op.create_table(
        "own_write",
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), primary_key=True),
        sa.Column("entity", sa.String(40), primary_key=True),
        sa.Column("external_id", sa.String(200), primary_key=True),
        sa.Column("remote_version", sa.String(200), primary_key=True),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_own_write_at", "own_write", ["at"])
    op.create_table(
        "receipt",
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True, comment="SHA-256 of what was signed"),
        sa.Column("at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_receipt_at", "receipt", ["at"])
    _conflict()


def _conflict() -> None:
    op.create_table(
        "conflict",
        sa.Column("id", Id, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), nullable=False),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column("external_id", sa.String(200), nullable=False),
        sa.Column("local_id", sa.String(64)),
        sa.Column("fields", Json, nullable=False),
        sa.Column("code", sa.String(60), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("remote_version", sa.String(200)),
        sa.Column("state", sa.String(10), nullable=False, comment="open or resolved"),
        sa.Column("resolution", sa.String(12), comment="keep_local, keep_remote or dismissed"),
        sa.Column("note", sa.String(500)),
        sa.Column("opened_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("resolved_at", UtcDateTime),
        sa.Column("resolved_by", sa.String(80)),
    )
    open_ = sa.text("state = 'open'")
    op.create_index("uq_conflict_open", "conflict", ["connection_id", "entity", "external_id"], unique=True,
                    sqlite_where=open_, postgresql_where=open_)
    op.create_index("ix_conflict_opened_at", "conflict", ["opened_at", "id"])
    op.create_index("ix_conflict_state", "conflict", ["state", "opened_at", "id"])


def downgrade() -> None:
    """Drop them; open conflicts and the memory of our own writes are lost."""
    op.drop_table("conflict")
    op.drop_table("receipt")
    op.drop_table("own_write")
    op.drop_column("sighting", "state_sealed")
    op.drop_column("sighting", "changed_at")
