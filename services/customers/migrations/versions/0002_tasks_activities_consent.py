"""Tasks, activities and consent; what has come in from elsewhere."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from chassis.database import Id, Json, UtcDateTime

revision = "0002"
down_revision = "0001"

_REFERRED = sa.text("external_id IS NOT NULL")


def _about() -> list[sa.Column[Any]]:
    return [sa.Column("subject_entity", sa.String(20)),
            sa.Column("subject_id", Id)]


def upgrade() -> None:
    """Create the tables; nobody has said yes to anything yet."""
    for table in ("customer", "contact"):
        op.add_column(table, sa.Column("consent", Json, nullable=False, server_default=sa.text("'{}'")))
    _create_task()
    _create_activity()
    op.create_table(
        "external_record",
        sa.Column("connection_id", Id, primary_key=True),
        sa.Column("entity", sa.String(40), primary_key=True),
        sa.Column("external_id", sa.String(200), primary_key=True),
        sa.Column("local_id", Id),
        sa.Column("applied", Json, nullable=False),
    )
    op.create_table(
        "wanted_task",
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
    )


def _create_task() -> None:
    op.create_table(
        "task",
        sa.Column("id", Id, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_by", Id, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("title", sa.String(500), nullable=False),
        sa.Column("description_text_sealed", sa.Text),
        *_about(),
        sa.Column("customer_id", Id),
        sa.Column("assignee_id", Id, nullable=False),
        sa.Column("team_id", Id),
        sa.Column("due_at", UtcDateTime),
        sa.Column("due_rank", UtcDateTime, nullable=False),
        sa.Column("priority", sa.String(10), nullable=False),
        sa.Column("progress", sa.Integer, nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("completed_at", UtcDateTime),
        sa.Column("cancel_reason", sa.String(300)),
        sa.Column("requested_by_key", sa.String(200)),
        sa.Column("connection_id", Id),
        sa.Column("external_id", sa.String(200)),
    )
    for columns in (["due_rank", "id"], ["created_at", "id"], ["subject_id", "id"]):
        op.create_index(f"ix_task_{'_'.join(columns)}", "task", columns)
    for name in ("assignee_id", "created_by", "team_id", "customer_id"):
        op.create_index(f"ix_task_{name}_due_rank", "task", [name, "due_rank", "id"])
    op.create_index("uq_task_external", "task", ["connection_id", "external_id"], unique=True,
                    sqlite_where=_REFERRED, postgresql_where=_REFERRED)


def _create_activity() -> None:
    op.create_table(
        "activity",
        sa.Column("id", Id, primary_key=True),
        *_about(),
        sa.Column("customer_id", Id),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("content_text_sealed", sa.Text),
        sa.Column("occurred_at", UtcDateTime, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("team_id", Id),
        sa.Column("next_follow_up_at", UtcDateTime),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_activity_occurred_at_id", "activity", ["occurred_at", "id"])
    op.create_index("ix_activity_subject_id_id", "activity", ["subject_id", "id"])
    for name in ("customer_id", "user_id", "team_id"):
        op.create_index(f"ix_activity_{name}_occurred_at", "activity", [name, "occurred_at", "id"])


def downgrade() -> None:
    """Undo it; the data is lost."""
    for table in ("wanted_task", "external_record", "activity", "task"):
        op.drop_table(table)
    for table in ("contact", "customer"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("consent")
