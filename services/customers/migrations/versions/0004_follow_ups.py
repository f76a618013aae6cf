"""Indexes for the list of customers by their next follow-up: everybody's, and one person's."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create them."""
    op.create_index("ix_customer_next_follow_up_at", "customer", ["next_follow_up_at", "id"])
    op.create_index("ix_customer_owner_id_next_follow_up_at", "customer", ["owner_id", "next_follow_up_at", "id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_customer_owner_id_next_follow_up_at", "customer")
    op.drop_index("ix_customer_next_follow_up_at", "customer")
