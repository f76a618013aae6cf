"""The history of every field."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, Json, UtcDateTime, new_id, utcnow
from services.customers.models.base import Base


class FieldChange(Base):
    """One field's change: before, after, who, when. Values of sealed fields are not kept, only that they changed."""

    __tablename__ = "field_change"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    entity: Mapped[str] = mapped_column(String(20))
    record_id: Mapped[str] = mapped_column(Id)
    version: Mapped[int]
    field: Mapped[str] = mapped_column(String(40))
    before: Mapped[Any] = mapped_column(Json, nullable=True, default=None)
    after: Mapped[Any] = mapped_column(Json, nullable=True, default=None)
    changed_by: Mapped[str] = mapped_column(Id)
    changed_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utcnow)

    __table_args__ = (Index("ix_field_change_record_id_id", "record_id", "id"),)
