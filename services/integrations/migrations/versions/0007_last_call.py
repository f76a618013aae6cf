"""The span of a delivery's last call, to which the next one links."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; what was called before has no span."""
    op.add_column("delivery", sa.Column("last_call", sa.String(55),
                                        comment="traceparent of the last call, if it was traced; a retry links to it"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("delivery", "last_call")
