"""The activity table."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime, new_id, utcnow
from chassis.sealed import Sealed
from services.customers.models.about import About
from services.customers.models.base import Base


class Activity(About, Base):
    """Something that was done; it is never changed."""

    __tablename__ = "activity"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    customer_id: Mapped[str | None] = mapped_column(Id, default=None)
    kind: Mapped[str] = mapped_column(String(10))
    content_text = Sealed("content_text")
    occurred_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    user_id: Mapped[str] = mapped_column(Id)
    team_id: Mapped[str | None] = mapped_column(Id, default=None)
    next_follow_up_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utcnow)

    __table_args__ = (
        Index("ix_activity_occurred_at_id", "occurred_at", "id"),
        Index("ix_activity_customer_id_occurred_at", "customer_id", "occurred_at", "id"),
        Index("ix_activity_user_id_occurred_at", "user_id", "occurred_at", "id"),
        Index("ix_activity_team_id_occurred_at", "team_id", "occurred_at", "id"),
        Index("ix_activity_subject_id_id", "subject_id", "id"),
    )

    @property
    def content(self) -> str:
        """What was said or seen; sealed where it is kept."""
        return self.content_text or ""

    @content.setter
    def content(self, value: str | None) -> None:
        self.content_text = value or None
