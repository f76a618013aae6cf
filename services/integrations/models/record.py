"""A record: this service's own sealed copy of what travels."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import UtcDateTime
from services.integrations.models.base import Base


class Record(Base):
    """The canonical state of one record of another service, fed by its events; nobody is ever asked for it.

    A snapshot raises `version` and leaves `routed_version`: it says what a record is, not that its targets were told.
    """

    __tablename__ = "record"

    entity: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    version: Mapped[int]
    routed_version: Mapped[int] = mapped_column(default=0, comment="newest version of which a change was accepted")
    state_sealed: Mapped[str] = mapped_column(sa.Text, comment="JSON, sealed for record|entity|id")
    state_hash: Mapped[str] = mapped_column(sa.String(64), comment="keyed hash of the canonical JSON")
    deleted: Mapped[bool] = mapped_column(default=False)
    seen_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
