"""A binding: our id ↔ theirs."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime
from services.integrations.models.base import Base, partial


class Binding(Base):
    """What we know of one record at one target: who it is there, what we sent last, what we saw last.

    `acked_version` only rises as long as it names one record there. `create_key` is the one key under which the record
    is ever made there.
    """

    __tablename__ = "binding"

    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"), primary_key=True)
    entity: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    local_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    external_id: Mapped[str | None] = mapped_column(sa.String(200))
    state: Mapped[str] = mapped_column(sa.String(12))
    create_key: Mapped[str] = mapped_column(sa.String(120))
    acked_version: Mapped[int] = mapped_column(default=0)
    remote_version: Mapped[str | None] = mapped_column(sa.String(200))
    # Nothing uses it. It goes with a later release: until then processes that still write it may run beside this one.
    sent_hash: Mapped[str | None] = mapped_column(sa.String(64), deferred=True)
    base_snapshot: Mapped[str | None] = mapped_column(sa.Text, comment="sealed: what both sides agreed on last")
    sought_sealed: Mapped[str | None] = mapped_column(
        sa.Text, comment="sealed: the natural key under which it was last begun to be made, where it has one there")
    last_verified_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        partial("uq_binding_external", "connection_id", "entity", "external_id",
                where=sa.text("external_id IS NOT NULL"), unique=True),
    )
