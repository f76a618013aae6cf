"""What targets are sent of a record: versions of mappings, and code tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.database import Id, Json, UtcDateTime

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Create the tables; the columns that name versions have been there from the first."""
    op.create_table(
        "mapping_version",
        sa.Column("id", Id, primary_key=True),
        sa.Column("route_id", Id, sa.ForeignKey("route.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False, comment="of this route's, from 1"),
        sa.Column("text", sa.Text, nullable=False, comment="YAML, as it was saved"),
        sa.Column("created_by", sa.String(80), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("route_id", "number", name="uq_mapping_version_route_id_number"),
    )
    op.create_table(
        "code_table",
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), primary_key=True),
        sa.Column("name", sa.String(60), primary_key=True),
        sa.Column("codes", Json, nullable=False, comment="our code → theirs, a text or a whole number"),
        sa.Column("updated_by", sa.String(80), nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )


def downgrade() -> None:
    """Drop them; every record is sent as it is then."""
    op.drop_table("code_table")
    op.drop_table("mapping_version")
    op.execute("UPDATE route SET mapping_version = NULL")
    op.execute("UPDATE connection SET mapping_version = NULL")
