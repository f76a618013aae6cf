"""One order of names, for sorting and for searching alike, and follow-ups only of customers who have one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_FOLLOW_UPS = {
    "ix_customer_next_follow_up_at": ["next_follow_up_at", "id"],
    "ix_customer_owner_id_next_follow_up_at": ["owner_id", "next_follow_up_at", "id"],
}


def upgrade() -> None:
    """Make the indexes smaller, and one less."""
    op.drop_index("ix_customer_name_id", "customer")
    op.drop_index("ix_customer_lifecycle_name", "customer")
    op.create_index("ix_customer_lifecycle_name_key", "customer", ["lifecycle", "name_key", "id"])
    has_one = sa.text("next_follow_up_at IS NOT NULL")
    for name, columns in _FOLLOW_UPS.items():
        op.drop_index(name, "customer")
        op.create_index(name, "customer", columns, sqlite_where=has_one, postgresql_where=has_one)


def downgrade() -> None:
    """Go back to whole ones, and one more."""
    for name, columns in _FOLLOW_UPS.items():
        op.drop_index(name, "customer")
        op.create_index(name, "customer", columns)
    op.drop_index("ix_customer_lifecycle_name_key", "customer")
    op.create_index("ix_customer_lifecycle_name", "customer", ["lifecycle", "name", "id"])
    op.create_index("ix_customer_name_id", "customer", ["name", "id"])
