"""The audit trail."""

from alembic import op

from chassis.migrations import create_audit_tables_v1, drop_audit_tables_v1

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create its tables, empty."""
    create_audit_tables_v1(op)


def downgrade() -> None:
    """Drop them; the trail is lost."""
    drop_audit_tables_v1(op)
