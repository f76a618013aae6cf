"""A conflict: what a target says and the hub's own rules do not agree, and a person has to decide."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, Json, UtcDateTime, new_id
from services.integrations.models.base import Base, partial


class Conflict(Base):
    """Open until somebody resolves it; at most one is open per record of a target. A newer refusal renews it."""

    __tablename__ = "conflict"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    version: Mapped[int] = mapped_column(default=1)
    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"))
    entity: Mapped[str] = mapped_column(sa.String(40))
    external_id: Mapped[str] = mapped_column(sa.String(200))
    local_id: Mapped[str | None] = mapped_column(sa.String(64))
    fields: Mapped[list[str]] = mapped_column(Json)
    code: Mapped[str] = mapped_column(sa.String(60))
    reason: Mapped[str] = mapped_column(sa.String(1000))
    remote_version: Mapped[str | None] = mapped_column(sa.String(200))
    state: Mapped[str] = mapped_column(sa.String(10), default="open", comment="open or resolved")
    resolution: Mapped[str | None] = mapped_column(sa.String(12), comment="keep_local, keep_remote or dismissed")
    note: Mapped[str | None] = mapped_column(sa.String(500))
    opened_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    resolved_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    resolved_by: Mapped[str | None] = mapped_column(sa.String(80))

    __table_args__ = (
        partial("uq_conflict_open", "connection_id", "entity", "external_id", where=sa.text("state = 'open'"),
                unique=True),
        # One for each filter of the list, in its order.
        sa.Index("ix_conflict_opened_at", "opened_at", "id"),
        sa.Index("ix_conflict_state", "state", "opened_at", "id"),
        sa.Index("ix_conflict_connection", "connection_id", "opened_at", "id"),
        sa.Index("ix_conflict_entity", "entity", "opened_at", "id"),
        sa.Index("ix_conflict_record", "local_id", "opened_at", "id"),
    )
