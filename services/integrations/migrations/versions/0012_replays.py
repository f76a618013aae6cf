"""A dead delivery is sent again once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

REPLAYS = sa.text("replay_of IS NOT NULL")


def upgrade() -> None:
    """Create the index that holds it; nothing was sent again before."""
    op.create_index("uq_delivery_replay", "delivery", ["replay_of"], unique=True, sqlite_where=REPLAYS,
                    postgresql_where=REPLAYS)


def downgrade() -> None:
    """Drop it."""
    op.drop_index("uq_delivery_replay", "delivery")
