"""What every table of this service shares."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.database import NAMING, Id, UtcDateTime, new_id, utcnow


class Base(DeclarativeBase):
    """Declarative base of the tickets database."""

    metadata = MetaData(naming_convention=NAMING)


class Versioned:
    """A record with an optimistic lock; `version` rises by one with every change."""

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    version: Mapped[int] = mapped_column(default=1)
    created_by: Mapped[str] = mapped_column(Id)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utcnow)
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utcnow)
