"""Two numbers that rise by themselves: of the changes of a record that travel, and of what is told of a connection."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ADDED = (
    ("record", "routed_version", "newest version of which a change was accepted"),
    ("connection", "health_version", "rises with each announcement of state or health"),
)


def upgrade() -> None:
    """Add both: until now whatever was known counted as accepted, and a connection's version was announced."""
    for table, name, meaning in ADDED:
        op.add_column(table, sa.Column(name, sa.Integer, comment=meaning))
        op.execute(f"UPDATE {table} SET {name} = version")  # noqa: S608 (the names above)
        with op.batch_alter_table(table) as altered:
            altered.alter_column(name, nullable=False)


def downgrade() -> None:
    """Forget both."""
    for table, name, _ in reversed(ADDED):
        op.drop_column(table, name)
