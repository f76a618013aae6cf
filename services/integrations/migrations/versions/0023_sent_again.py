"""A replay that was called off keeps nobody from sending its delivery again."""

from __future__ import annotations

from alembic import op

from chassis.migrations import add_index

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Let an index without replays that were called off take the place of the one with them."""
    add_index(op, "uq_delivery_sent_again", "delivery", ["replay_of", "payload_hash", "replay_mode"],
              where="replay_of IS NOT NULL AND state <> 'cancelled'", unique=True)
    op.drop_index("uq_delivery_replay_key", "delivery")


def downgrade() -> None:
    """Go back to that one; fails where a delivery was sent again after a replay of it was called off."""
    add_index(op, "uq_delivery_replay_key", "delivery", ["replay_of", "payload_hash", "replay_mode"],
              where="replay_of IS NOT NULL", unique=True)
    op.drop_index("uq_delivery_sent_again", "delivery")
