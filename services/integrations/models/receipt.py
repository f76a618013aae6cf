"""A receipt: that a message of a target's webhook has been taken in."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime
from services.integrations.models.base import Base


class Receipt(Base):
    """Kept for 24 h, so that a message that is sent again, by its sender or by somebody who listened, does nothing."""

    __tablename__ = "receipt"

    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(sa.String(64), primary_key=True, comment="SHA-256 of what was signed")
    at: Mapped[dt.datetime] = mapped_column(UtcDateTime, index=True)
