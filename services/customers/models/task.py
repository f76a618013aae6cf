"""The task table."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column, validates

from chassis.database import Id, UtcDateTime
from chassis.sealed import Sealed
from services.customers.models.about import About
from services.customers.models.base import Base, Versioned

NEVER = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)
"""Where a task without a date stands in the order of dates: last."""


class Task(Versioned, About, Base):
    """Something that somebody is to do. `due_rank` is `due_at` without nulls, for lists in order of dates."""

    __tablename__ = "task"

    title: Mapped[str] = mapped_column(String(500))
    description_text = Sealed("description_text")
    customer_id: Mapped[str | None] = mapped_column(Id, default=None)
    assignee_id: Mapped[str] = mapped_column(Id)
    team_id: Mapped[str | None] = mapped_column(Id, default=None)
    due_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)
    due_rank: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=NEVER)
    priority: Mapped[str] = mapped_column(String(10), default="normal")
    progress: Mapped[int] = mapped_column(default=0)
    status: Mapped[str] = mapped_column(String(12), default="open")
    completed_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)
    cancel_reason: Mapped[str | None] = mapped_column(String(300), default=None)
    requested_by_key: Mapped[str | None] = mapped_column(String(200), default=None)
    connection_id: Mapped[str | None] = mapped_column(Id, default=None)
    external_id: Mapped[str | None] = mapped_column(String(200), default=None)

    __table_args__ = (
        Index("ix_task_due_rank_id", "due_rank", "id"),
        Index("ix_task_created_at_id", "created_at", "id"),
        Index("ix_task_assignee_id_due_rank", "assignee_id", "due_rank", "id"),
        Index("ix_task_created_by_due_rank", "created_by", "due_rank", "id"),
        Index("ix_task_team_id_due_rank", "team_id", "due_rank", "id"),
        Index("ix_task_customer_id_due_rank", "customer_id", "due_rank", "id"),
        Index("ix_task_subject_id_id", "subject_id", "id"),
        Index("uq_task_external", "connection_id", "external_id", unique=True,
              sqlite_where=text("external_id IS NOT NULL"), postgresql_where=text("external_id IS NOT NULL")),
    )

    @validates("due_at")
    def _ranked(self, _name: str, due_at: dt.datetime | None) -> dt.datetime | None:
        self.due_rank = due_at or NEVER
        return due_at

    @property
    def description(self) -> str:
        """What is to be done, at length; sealed where it is kept."""
        return self.description_text or ""

    @description.setter
    def description(self, value: str | None) -> None:
        self.description_text = value or None

    @property
    def external_ref(self) -> dict[str, Any] | None:
        """The record of another system that the task was born from."""
        if self.external_id is None:
            return None
        return {"connection_id": self.connection_id, "external_id": self.external_id}
