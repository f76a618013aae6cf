"""By what a record is looked for that was begun to be made at a target which has no room for our id."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column; of what was begun before nobody knows it."""
    op.add_column("binding", sa.Column(
        "sought_sealed", sa.Text, comment="sealed: the natural key under which it was last begun to be made, where it"
                                          " has one there"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("binding", "sought_sealed")
