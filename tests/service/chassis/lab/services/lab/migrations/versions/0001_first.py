"""Notes, effects and projections."""

from alembic import op

from chassis.migrations import create_audit_tables_v1, create_chassis_tables_v1
from services.lab.service import Base

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_chassis_tables_v1(op)
    create_audit_tables_v1(op)
    Base.metadata.create_all(op.get_bind())
