"""One order of names, for sorting and for searching alike, and follow-ups only of customers who have one."""

from __future__ import annotations

from alembic import op

from chassis.migrations import add_index

revision = "0005"
down_revision = "0004"

_OLD = {
    "ix_customer_lifecycle_name": ["lifecycle", "name", "id"],
    "ix_customer_name_id": ["name", "id"],
    "ix_customer_next_follow_up_at": ["next_follow_up_at", "id"],
    "ix_customer_owner_id_next_follow_up_at": ["owner_id", "next_follow_up_at", "id"],
}
_HAS_ONE = "next_follow_up_at IS NOT NULL"


def upgrade() -> None:
    """Make the new ones, then drop those that they replace."""
    add_index(op, "ix_customer_lifecycle_name_key", "customer", ["lifecycle", "name_key", "id"])
    add_index(op, "ix_customer_follow_up", "customer", ["next_follow_up_at", "id"], where=_HAS_ONE)
    add_index(op, "ix_customer_owner_id_follow_up", "customer", ["owner_id", "next_follow_up_at", "id"], where=_HAS_ONE)
    for name in _OLD:
        op.drop_index(name, "customer")


def downgrade() -> None:
    """Go back to whole ones, and one more."""
    for name, columns in _OLD.items():
        add_index(op, name, "customer", columns)
    for name in ("ix_customer_owner_id_follow_up", "ix_customer_follow_up", "ix_customer_lifecycle_name_key"):
        op.drop_index(name, "customer")
