"""The message table."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime, new_id, utcnow
from chassis.sealed import Sealed
from services.tickets.models.base import Base


class Message(Base):
    """What was said on a ticket; it is never changed."""

    __tablename__ = "message"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    ticket_id: Mapped[str] = mapped_column(Id, ForeignKey("ticket.id"))
    direction: Mapped[str] = mapped_column(String(10))
    internal: Mapped[bool]
    body = Sealed("body")
    author_id: Mapped[str] = mapped_column(Id)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utcnow)

    __table_args__ = (
        CheckConstraint("NOT internal OR direction = 'outbound'", name="internal"),
        Index("ix_message_ticket_id_created_at", "ticket_id", "created_at", "id"),
    )
