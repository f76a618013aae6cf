"""Whether a leased delivery is on a slot of its connection, or waits in its process for one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the column; what is leased now is on a slot."""
    op.add_column("delivery", sa.Column(
        "ahead", sa.Boolean, nullable=False, server_default=sa.false(),
        comment="leased, and waiting in its process for a slot: no call of it is on the wire"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("delivery", "ahead")
