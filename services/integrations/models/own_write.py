"""An own write: the version that a record got at a target when we wrote it."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime
from services.integrations.models.base import Base


class OwnWrite(Base):
    """The echo ledger, kept for 24 h: a change there that carries one of these versions is our own and is not told."""

    __tablename__ = "own_write"

    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"), primary_key=True)
    entity: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    external_id: Mapped[str] = mapped_column(sa.String(200), primary_key=True)
    remote_version: Mapped[str] = mapped_column(sa.String(200), primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(UtcDateTime, index=True)
