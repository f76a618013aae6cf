"""A route says whose a field is that both sides changed, and what becomes of a record that has gone there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.database import Json

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Add the columns. `conflict_policy`, which nothing ever read, stays: processes of the release before name it."""
    op.add_column("route", sa.Column("owners", Json, comment="field -> whose it is where both sides changed it, as far "
                                                             "as it is said"))
    op.add_column("route", sa.Column(
        "on_missing", sa.String(10), nullable=False, server_default="recreate",
        comment="what becomes of a record that has gone there: recreate or conflict"))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("route", "on_missing")
    op.drop_column("route", "owners")
