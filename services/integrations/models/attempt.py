"""An attempt: one call for a delivery."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime, new_id
from services.integrations.models.base import Base


class Attempt(Base):
    """Written before bytes leave and closed when the answer is in; previews are redacted and at most 20 kB.

    `n` is the fence of the lease under which the call was made, so one lease is one call.
    """

    __tablename__ = "attempt"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    delivery_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("delivery.id"))
    n: Mapped[int]
    fence: Mapped[int]
    action: Mapped[str] = mapped_column(sa.String(8), comment="write, delete or find")
    started_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    outcome: Mapped[str | None] = mapped_column(sa.String(16))
    error_class: Mapped[str | None] = mapped_column(sa.String(24))
    http_status: Mapped[int | None]
    retry_after_s: Mapped[float | None] = mapped_column(sa.Float)
    duration_ms: Mapped[int | None]
    request_preview: Mapped[str | None] = mapped_column(sa.Text)
    response_preview: Mapped[str | None] = mapped_column(sa.Text)
    trace_id: Mapped[str | None] = mapped_column(sa.String(64))

    __table_args__ = (sa.UniqueConstraint("delivery_id", "n"),)
