"""A delivery is sent again once with each payload in each mode, whoever asks how often."""

from __future__ import annotations

from alembic import op

from chassis.migrations import add_index

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Let the index that holds it take the place of the one by which a delivery was sent again once."""
    add_index(op, "uq_delivery_replay_key", "delivery", ["replay_of", "payload_hash", "replay_mode"],
              where="replay_of IS NOT NULL", unique=True)
    op.drop_index("uq_delivery_replay", "delivery")


def downgrade() -> None:
    """Go back to that one; fails where a delivery was sent again in both modes."""
    add_index(op, "uq_delivery_replay", "delivery", ["replay_of"], where="replay_of IS NOT NULL", unique=True)
    op.drop_index("uq_delivery_replay_key", "delivery")
