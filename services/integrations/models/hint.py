"""A hint: that a record has to be read as it stands at the target: a webhook message does not tell for sure."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime
from services.integrations.models.base import Base


class Hint(Base):
    """Noted with the receipt of its message, gone with what was read: a process that ends in between loses none."""

    __tablename__ = "hint"

    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"), primary_key=True)
    entity: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    external_id: Mapped[str] = mapped_column(sa.String(200), primary_key=True)
    account: Mapped[str | None] = mapped_column(sa.String(200), comment="in whose account the record lies there")
    at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
