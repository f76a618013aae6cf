"""A sighting: the state in which a record that a target owns was seen last."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime
from services.integrations.models.base import Base


class Sighting(Base):
    """Targets report a change again and again (overlap, redelivery); only one that differs from this row is news."""

    __tablename__ = "sighting"

    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"), primary_key=True)
    entity: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    external_id: Mapped[str] = mapped_column(sa.String(200), primary_key=True)
    remote_version: Mapped[str] = mapped_column(sa.String(200))
    version: Mapped[int] = mapped_column(default=1, comment="ours: rises with every change that was told")
    seen_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, comment="when it changed, as the target says")
    state_sealed: Mapped[str | None] = mapped_column(
        sa.Text, comment="sealed: the record as it was seen or written last, of entities that we write too")
