"""What every table of identity has."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.database import NAMING, Id, UtcDateTime, new_id, utcnow


class Base(DeclarativeBase):
    """Base of the models of identity."""

    metadata = MetaData(naming_convention=NAMING)


class Identified:
    """A row with an id of its own, and when it was made."""

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utcnow)


class Versioned(Identified):
    """A row that people change: `version` rises under the row's lock with every change."""

    version: Mapped[int] = mapped_column(default=1)
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utcnow, onupdate=utcnow)
