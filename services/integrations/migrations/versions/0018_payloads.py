"""What a call was made of is kept with its attempt; a replay says which payload it brings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

BEFORE = "sealed; null for an upsert, which takes the record as it stands when it is sent"
NOW = "sealed: what is sent once more; null where the record is sent as it stands then"


def upgrade() -> None:
    """Add the columns; what was called before is not known, and what was sent again brought its record as it stood."""
    op.add_column("attempt", sa.Column("payload_sealed", sa.Text, comment="what the call was made of, if it sent any"))
    op.add_column("delivery", sa.Column("replay_mode", sa.String(8), comment="of a replay: current or as_sent"))
    op.execute("UPDATE delivery SET replay_mode = 'current', payload_hash = '' WHERE replay_of IS NOT NULL")
    _comment(BEFORE, NOW)


def downgrade() -> None:
    """Drop them."""
    _comment(NOW, BEFORE)
    op.drop_column("delivery", "replay_mode")
    op.drop_column("attempt", "payload_sealed")


def _comment(was: str, now: str) -> None:
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps none
        op.alter_column("delivery", "payload", existing_type=sa.Text(), existing_nullable=True, existing_comment=was,
                        comment=now)
