"""Customers, contacts and the history of their fields."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from chassis.database import ByteOrdered, Id, Json, UtcDateTime
from chassis.migrations import create_chassis_tables_v1, drop_chassis_tables_v1

revision = "0001"
down_revision = None


def _sealed(name: str, *, index: bool = True) -> list[sa.Column[Any]]:
    columns = [sa.Column(f"{name}_sealed", sa.Text)]
    return [*columns, sa.Column(f"{name}_index", sa.String(64))] if index else columns


def _record() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", Id, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_by", Id, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    ]


def upgrade() -> None:
    """Create the first tables."""
    create_chassis_tables_v1(op)
    op.create_table(
        "customer", *_record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", ByteOrdered(200), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        *_sealed("phone"), *_sealed("email"), *_sealed("wechat_id"), *_sealed("street", index=False),
        sa.Column("locality", Json),
        sa.Column("invoice", Json),
        sa.Column("source", sa.String(60), nullable=False),
        sa.Column("level", sa.String(30), nullable=False),
        sa.Column("lifecycle", sa.String(10), nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("preferences", Json, nullable=False),
        sa.Column("next_follow_up_at", UtcDateTime),
        sa.Column("owner_id", Id),
        sa.Column("team_id", Id),
    )
    for name in ("phone_index", "email_index", "wechat_id_index"):
        op.create_index(f"ix_customer_{name}", "customer", [name])
    for columns in (["created_at", "id"], ["updated_at", "id"], ["name", "id"]):
        op.create_index(f"ix_customer_{'_'.join(columns)}", "customer", columns)
    op.create_index("ix_customer_name_key", "customer", ["name_key"])
    op.create_index("ix_customer_owner_id_created_at", "customer", ["owner_id", "created_at", "id"])
    op.create_index("ix_customer_team_id_created_at", "customer", ["team_id", "created_at", "id"])
    op.create_table(
        "contact", *_record(),
        sa.Column("customer_id", Id, sa.ForeignKey("customer.id", name="fk_contact_customer_id"), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        *_sealed("phone"), *_sealed("email"),
        sa.Column("role", sa.String(100), nullable=False),
        sa.Column("is_primary", sa.Boolean, nullable=False),
    )
    for name in ("phone_index", "email_index"):
        op.create_index(f"ix_contact_{name}", "contact", [name])
    op.create_index("ix_contact_customer_id_id", "contact", ["customer_id", "id"])
    op.create_index("uq_contact_primary", "contact", ["customer_id"], unique=True,
                    sqlite_where=sa.text("is_primary"), postgresql_where=sa.text("is_primary"))
    op.create_table(
        "field_change",
        sa.Column("id", Id, primary_key=True),
        sa.Column("entity", sa.String(20), nullable=False),
        sa.Column("record_id", Id, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("field", sa.String(40), nullable=False),
        sa.Column("before", Json),
        sa.Column("after", Json),
        sa.Column("changed_by", Id, nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_field_change_record_id_id", "field_change", ["record_id", "id"])


def downgrade() -> None:
    """Undo it; the data is lost."""
    for table in ("field_change", "contact", "customer"):
        op.drop_table(table)
    drop_chassis_tables_v1(op)
