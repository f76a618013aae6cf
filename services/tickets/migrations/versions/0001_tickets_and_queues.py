"""Tickets, their messages and trail, queues and the small copy of customers."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from chassis.database import ByteOrdered, Id, Json, UtcDateTime
from chassis.migrations import create_chassis_tables_v1, drop_chassis_tables_v1

revision = "0001"
down_revision = None


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
    _customer_refs()
    _queues()
    _tickets()
    _messages()
    _trail()


def _customer_refs() -> None:
    op.create_table(
        "customer_ref",
        sa.Column("id", Id, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("owner_id", Id),
        sa.Column("team_id", Id),
    )
    op.create_index("ix_customer_ref_owner_id", "customer_ref", ["owner_id", "id"])
    op.create_index("ix_customer_ref_team_id", "customer_ref", ["team_id", "id"])


def _queues() -> None:
    op.create_table(
        "queue", *_record(),
        sa.Column("name", ByteOrdered(100), nullable=False),
        sa.Column("strategy", sa.String(20), nullable=False),
        sa.Column("max_open", sa.Integer),
        sa.Column("team_id", Id),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("last_place", sa.Integer, nullable=False),
        sa.CheckConstraint("max_open > 0", name="ck_queue_max_open"),
        sa.UniqueConstraint("name", name="uq_queue_name"),
    )
    op.create_table(
        "queue_member",
        sa.Column("queue_id", Id, sa.ForeignKey("queue.id", name="fk_queue_member_queue_id"), primary_key=True),
        sa.Column("user_id", Id, primary_key=True),
        sa.Column("place", sa.Integer, nullable=False),
    )
    op.create_index("ix_queue_member_user_id", "queue_member", ["user_id", "queue_id"])


def _tickets() -> None:
    op.create_table(
        "ticket", *_record(),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("type", sa.String(12), nullable=False),
        sa.Column("priority", sa.String(10), nullable=False),
        sa.Column("channel", sa.String(12), nullable=False),
        sa.Column("customer_id", Id),
        sa.Column("product", sa.String(100), nullable=False),
        sa.Column("queue_id", Id, sa.ForeignKey("queue.id", name="fk_ticket_queue_id")),
        sa.Column("assignee_id", Id),
        sa.Column("team_id", Id),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("resolution_sealed", sa.Text),
        sa.Column("reopen_count", sa.Integer, nullable=False),
        sa.Column("resolved_at", UtcDateTime),
        sa.Column("closed_at", UtcDateTime),
        sa.CheckConstraint("status NOT IN ('resolved', 'closed') OR resolution_sealed IS NOT NULL",
                           name="ck_ticket_resolution"),
        sa.CheckConstraint("(status IN ('resolved', 'closed')) = (resolved_at IS NOT NULL)",
                           name="ck_ticket_resolved_at"),
    )
    for column in ("created_at", "updated_at"):
        op.create_index(f"ix_ticket_{column}_id", "ticket", [column, "id"])
    for column in ("status", "customer_id", "queue_id", "assignee_id", "created_by", "team_id"):
        op.create_index(f"ix_ticket_{column}_created_at", "ticket", [column, "created_at", "id"])
    unresolved = sa.text("resolved_at IS NULL")
    op.create_index("ix_ticket_unresolved", "ticket", ["queue_id", "assignee_id", "created_at", "id"],
                    sqlite_where=unresolved, postgresql_where=unresolved)


def _messages() -> None:
    op.create_table(
        "message",
        sa.Column("id", Id, primary_key=True),
        sa.Column("ticket_id", Id, sa.ForeignKey("ticket.id", name="fk_message_ticket_id"), nullable=False),
        sa.Column("direction", sa.String(10), nullable=False),
        sa.Column("internal", sa.Boolean, nullable=False),
        sa.Column("body_sealed", sa.Text),
        sa.Column("author_id", Id, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.CheckConstraint("NOT internal OR direction = 'outbound'", name="ck_message_internal"),
    )
    op.create_index("ix_message_ticket_id_created_at", "message", ["ticket_id", "created_at", "id"])


def _trail() -> None:
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
    for table in ("field_change", "message", "ticket", "queue_member", "queue", "customer_ref"):
        op.drop_table(table)
    drop_chassis_tables_v1(op)
