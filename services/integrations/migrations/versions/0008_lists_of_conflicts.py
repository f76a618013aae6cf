"""An index for each filter of the list of conflicts, in the order of the list."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"

COLUMNS = {"connection": "connection_id", "entity": "entity", "record": "local_id"}


def upgrade() -> None:
    """Create them."""
    for name, column in COLUMNS.items():
        op.create_index(f"ix_conflict_{name}", "conflict", [column, "opened_at", "id"])


def downgrade() -> None:
    """Drop them."""
    for name in reversed(COLUMNS):
        op.drop_index(f"ix_conflict_{name}", "conflict")
