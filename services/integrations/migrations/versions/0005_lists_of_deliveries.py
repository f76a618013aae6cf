"""An index for each filter of the list of deliveries, in the order of the list."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

FAILED = sa.text("error_class IS NOT NULL")
ATTENTION = sa.text("state IN ('dead', 'in_doubt', 'blocked')")


def upgrade() -> None:
    """Create them; that of every state takes the place of the one for three."""
    op.create_index("ix_delivery_connection", "delivery", ["connection_id", "id"])
    op.create_index("ix_delivery_entity", "delivery", ["entity", "id"])
    op.create_index("ix_delivery_any_state", "delivery", ["state", "id"])
    op.create_index("ix_delivery_error", "delivery", ["error_class", "id"], sqlite_where=FAILED,
                    postgresql_where=FAILED)
    op.drop_index("ix_delivery_attention", "delivery")


def downgrade() -> None:
    """Go back to the one."""
    op.create_index("ix_delivery_attention", "delivery", ["state", "id"], sqlite_where=ATTENTION,
                    postgresql_where=ATTENTION)
    for name in ("error", "any_state", "entity", "connection"):
        op.drop_index(f"ix_delivery_{name}", "delivery")
