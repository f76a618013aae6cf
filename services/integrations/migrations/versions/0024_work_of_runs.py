"""How long a run has been at work, by which the time that it will take on is told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add the column. A run that is there already has none: nobody has measured its work."""
    op.add_column("run", sa.Column(
        "worked_s", sa.Float, comment="at work since `total` is known, with the waits between its pages; NULL where "
                                      "nobody has measured it"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("run", "worked_s")
