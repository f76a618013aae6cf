"""Whether a cursor reads for the first time what the hub only wrote until then."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column; cursors that stand go on as they did."""
    op.add_column("cursor", sa.Column(
        "first_pass", sa.Boolean, nullable=False, server_default=sa.false(),
        comment="what is bound is remembered, not told: until now the hub only wrote there"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("cursor", "first_pass")
