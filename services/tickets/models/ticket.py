"""The ticket table."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime
from chassis.sealed import Sealed
from services.tickets.domain import tickets
from services.tickets.models.base import Base, Versioned

UNRESOLVED = text("resolved_at IS NULL")


class Ticket(Versioned, Base):
    """What a customer asked. It is unresolved while `resolved_at` is null: that is what a member's load counts."""

    __tablename__ = "ticket"

    subject: Mapped[str] = mapped_column(String(300))
    type: Mapped[str] = mapped_column(String(12), default="question")
    priority: Mapped[str] = mapped_column(String(10), default="normal")
    channel: Mapped[str] = mapped_column(String(12), default="other")
    customer_id: Mapped[str | None] = mapped_column(Id, default=None)
    product: Mapped[str] = mapped_column(String(100), default="")
    queue_id: Mapped[str | None] = mapped_column(Id, ForeignKey("queue.id"), default=None)
    assignee_id: Mapped[str | None] = mapped_column(Id, default=None)
    team_id: Mapped[str | None] = mapped_column(Id, default=None)
    status: Mapped[str] = mapped_column(String(12), default=tickets.NEW)
    resolution = Sealed("resolution")
    reopen_count: Mapped[int] = mapped_column(default=0)
    resolved_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)
    closed_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)

    __table_args__ = (
        CheckConstraint("status NOT IN ('resolved', 'closed') OR resolution_sealed IS NOT NULL", name="resolution"),
        CheckConstraint("(status IN ('resolved', 'closed')) = (resolved_at IS NOT NULL)", name="resolved_at"),
        Index("ix_ticket_created_at_id", "created_at", "id"),
        Index("ix_ticket_updated_at_id", "updated_at", "id"),
        Index("ix_ticket_status_created_at", "status", "created_at", "id"),
        Index("ix_ticket_customer_id_created_at", "customer_id", "created_at", "id"),
        Index("ix_ticket_queue_id_created_at", "queue_id", "created_at", "id"),
        Index("ix_ticket_assignee_id_created_at", "assignee_id", "created_at", "id"),
        Index("ix_ticket_created_by_created_at", "created_by", "created_at", "id"),
        Index("ix_ticket_team_id_created_at", "team_id", "created_at", "id"),
        Index("ix_ticket_unresolved", "queue_id", "assignee_id", "created_at", "id", sqlite_where=UNRESOLVED,
              postgresql_where=UNRESOLVED),
    )

    @property
    def standing(self) -> tickets.Standing:
        """How far it has come."""
        return tickets.Standing(self.status, self.reopen_count)
