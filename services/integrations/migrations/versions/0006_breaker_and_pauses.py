"""What the breaker of a connection knows, and why the hub paused it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.database import Json, UtcDateTime

revision = "0006"
down_revision = "0005"

ADDED = ("breaker_window", "breaker_opened_at", "breaker_alerts", "breaker_step", "breaker_passed", "refused_records",
         "pause_code")


def upgrade() -> None:
    """Add the columns; every breaker begins closed."""
    op.add_column("connection", sa.Column(
        "breaker_window", Json, comment="[slot, calls, failures] of the last minute"))
    op.add_column("connection", sa.Column("breaker_opened_at", UtcDateTime, comment="since when the target is down"))
    op.add_column("connection", sa.Column("breaker_alerts", sa.Integer, nullable=False, server_default="0"))
    op.add_column("connection", sa.Column("breaker_step", sa.Integer, comment="of the ramp; null unless half open"))
    op.add_column("connection", sa.Column("breaker_passed", sa.Integer, nullable=False, server_default="0"))
    op.add_column("connection", sa.Column(
        "refused_records", Json, comment="[record, when] refused as invalid since the last success"))
    op.add_column("connection", sa.Column("pause_code", sa.String(20), comment="why the hub paused it by itself"))


def downgrade() -> None:
    """Drop them; what was open is closed."""
    for name in reversed(ADDED):
        op.drop_column("connection", name)
