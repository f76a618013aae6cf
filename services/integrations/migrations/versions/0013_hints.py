"""What messages of webhooks only hint at is read by the poller."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.database import Id, UtcDateTime

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "hint",
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), primary_key=True),
        sa.Column("entity", sa.String(40), primary_key=True),
        sa.Column("external_id", sa.String(200), primary_key=True),
        sa.Column("account", sa.String(200), comment="in whose account the record lies there"),
        sa.Column("at", UtcDateTime, nullable=False),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("hint")
