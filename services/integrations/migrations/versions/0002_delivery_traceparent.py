"""A delivery remembers the trace of the event it came from, so that its calls are part of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; deliveries that are under way have no trace and begin one of their own."""
    op.add_column("delivery", sa.Column("traceparent", sa.String(55), comment="of the event; its calls go on with it"))


def downgrade() -> None:
    """Forget the traces."""
    op.drop_column("delivery", "traceparent")
