"""A cursor: how far the changes of a target have been read."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime
from services.integrations.models.base import Base


class Cursor(Base):
    """The checkpoint moves in the transaction of the changes that it covers; the lease keeps one reader per cursor."""

    __tablename__ = "cursor"

    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"), primary_key=True)
    entity: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    direction: Mapped[str] = mapped_column(sa.String(8), primary_key=True)
    partition: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    checkpoint: Mapped[str | None] = mapped_column(sa.Text)
    due_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, index=True)
    failures: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(sa.String(1000))
    last_success_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    lease_owner: Mapped[str | None] = mapped_column(sa.String(120))
    lease_until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    fence: Mapped[int] = mapped_column(default=0)
    first_pass: Mapped[bool] = mapped_column(
        default=False, comment="what is bound is remembered, not told: until now the hub only wrote there")
