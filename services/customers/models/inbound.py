"""What has come in from elsewhere: changes of external records, and tasks that other services wanted."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, Json, UtcDateTime, utcnow
from services.customers.models.base import Base


class ExternalRecord(Base):
    """How far an external record has been followed: of each field, the version that was applied last.

    Field by field, because a change names only what is new in it: one that arrives late still holds the newest word on
    a field that the later ones left alone. It outlives the task, so that what was removed here is not born again.
    """

    __tablename__ = "external_record"

    connection_id: Mapped[str] = mapped_column(Id, primary_key=True)
    entity: Mapped[str] = mapped_column(String(40), primary_key=True)
    external_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    local_id: Mapped[str | None] = mapped_column(Id, default=None)
    applied: Mapped[dict[str, int]] = mapped_column(Json, default=dict)


class WantedTask(Base):
    """A `task.requested` that was heard, and the task made for it. It outlives the task."""

    __tablename__ = "wanted_task"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    task_id: Mapped[str] = mapped_column(Id)
    received_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utcnow)
