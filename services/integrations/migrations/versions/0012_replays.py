"""A dead delivery is sent again once."""

from __future__ import annotations

from alembic import op

from chassis.migrations import add_index

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the index that holds it; nothing was sent again before."""
    add_index(op, "uq_delivery_replay", "delivery", ["replay_of"], where="replay_of IS NOT NULL", unique=True)


def downgrade() -> None:
    """Drop it."""
    op.drop_index("uq_delivery_replay", "delivery")
