"""An index for each filter of the list of customers, in each order of the list."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create them; that of the names to search in gets the id, which the list needs to go on from."""
    for order in ("created_at", "updated_at", "name"):
        op.create_index(f"ix_customer_lifecycle_{order}", "customer", ["lifecycle", order, "id"])
    op.drop_index("ix_customer_name_key", "customer")
    op.create_index("ix_customer_name_key", "customer", ["name_key", "id"])


def downgrade() -> None:
    """Go back to the one."""
    op.drop_index("ix_customer_name_key", "customer")
    op.create_index("ix_customer_name_key", "customer", ["name_key"])
    for order in ("created_at", "updated_at", "name"):
        op.drop_index(f"ix_customer_lifecycle_{order}", "customer")
