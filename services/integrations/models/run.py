"""A run: work over all records of an entity on one connection, a page at a time: matching, backfill, reconciliation."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, Json, UtcDateTime, new_id
from services.integrations.domain import runs
from services.integrations.models.base import Base, one_of, partial


class Run(Base):
    """At most one of a kind is unfinished per connection and entity.

    `position` moves in the transaction of what the page before it led to; the lease keeps one worker per run, and every
    write names the `fence` that it was taken with.
    """

    __tablename__ = "run"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    version: Mapped[int] = mapped_column(default=1)
    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"))
    entity: Mapped[str] = mapped_column(sa.String(40))
    kind: Mapped[str] = mapped_column(sa.String(12))
    state: Mapped[str] = mapped_column(sa.String(20), default="pending")
    phase: Mapped[str | None] = mapped_column(sa.String(20))
    filter: Mapped[dict[str, Any]] = mapped_column(Json)
    options: Mapped[dict[str, Any]] = mapped_column(Json)
    position: Mapped[dict[str, Any]] = mapped_column(Json, comment="where the next page begins")
    counts: Mapped[dict[str, int]] = mapped_column(Json)
    total: Mapped[int | None] = mapped_column(comment="how many records it will look at, as far as can be told")
    worked_s: Mapped[float | None] = mapped_column(
        sa.Float, default=0.0, comment="at work since `total` is known, with the waits between its pages; NULL where "
                                       "nobody has measured it")
    reason: Mapped[str] = mapped_column(sa.String(500), default="")
    created_by: Mapped[str] = mapped_column(sa.String(80))
    approved_by: Mapped[str | None] = mapped_column(sa.String(80))
    error: Mapped[str | None] = mapped_column(sa.String(1000))
    failures: Mapped[int] = mapped_column(default=0, comment="pages that failed since the last that did not")
    lease_owner: Mapped[str | None] = mapped_column(sa.String(120))
    lease_until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    fence: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    next_run_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, comment="when the next one like it begins")
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        partial("uq_run_unfinished", "connection_id", "entity", "kind", where=one_of("state", runs.UNFINISHED),
                unique=True),
        partial("ix_run_due", "due_at", where=one_of("state", runs.CLAIMABLE)),
        partial("ix_run_next", "next_run_at", where=sa.text("next_run_at IS NOT NULL")),
        # One for each filter of the list, in its order.
        sa.Index("ix_run_connection", "connection_id", "id"),
        sa.Index("ix_run_kind", "kind", "id"),
        sa.Index("ix_run_state", "state", "id"),
    )

    @property
    def percent(self) -> float | None:
        """How much of it is done, from 0 to 100; None if nobody can tell how much there is."""
        return runs.percent(self.counts, self.total, self.state)

    @property
    def seconds_left(self) -> int | None:
        """How long it will take on, at the pace that it has at work; None if nobody can tell."""
        return runs.seconds_left(self.counts, self.total, self.worked_s) if self.state == "running" else None
