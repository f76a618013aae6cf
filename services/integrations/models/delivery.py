"""A delivery: one change to bring to one connection."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, column_property, mapped_column

from chassis.database import Id, UtcDateTime, new_id
from services.integrations.domain.deliveries import CLAIMABLE, IN_FLIGHT, WAITING
from services.integrations.models.base import Base, one_of, partial
from services.integrations.models.binding import Binding


class Delivery(Base):
    """One row of the engine's work. Every write after a lease names the `fence` that the lease was taken with.

    The lane (connection_id, entity, local_id) is held by two partial unique indexes: at most one delivery of a lane is
    in flight, and at most one upsert of it waits. A third holds that a delivery is replayed once per payload and mode,
    but for replays that were called off; `payload_hash` is keyed, for a body can be guessed from a plain hash of it.
    """

    __tablename__ = "delivery"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"))
    entity: Mapped[str] = mapped_column(sa.String(40))
    local_id: Mapped[str] = mapped_column(sa.String(64))
    op: Mapped[str] = mapped_column(sa.String(8))
    source_event_id: Mapped[str | None] = mapped_column(Id)
    source_version: Mapped[int]
    payload: Mapped[str | None] = mapped_column(
        sa.Text, comment="sealed: what is sent once more; null where the record is sent as it stands then")
    payload_hash: Mapped[str | None] = mapped_column(sa.String(64))
    mapping_version: Mapped[int | None]
    idempotency_key: Mapped[str] = mapped_column(sa.String(160))
    state: Mapped[str] = mapped_column(sa.String(12))
    attempts: Mapped[int] = mapped_column(default=0, comment="failures that count towards the last attempt")
    deferrals: Mapped[int] = mapped_column(default=0, comment="waits that used no attempt")
    probes: Mapped[int] = mapped_column(default=0, comment="look-ups since the answer was lost")
    due_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    deadline_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    doubt_since: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, comment="when the answer was lost")
    lease_owner: Mapped[str | None] = mapped_column(sa.String(120))
    lease_until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    fence: Mapped[int] = mapped_column(default=0)
    ahead: Mapped[bool] = mapped_column(
        default=False, comment="leased, and waiting in its process for a slot: no call of it is on the wire")
    error_class: Mapped[str | None] = mapped_column(sa.String(24))
    last_error: Mapped[str | None] = mapped_column(sa.String(1000))
    blocked_entity: Mapped[str | None] = mapped_column(sa.String(40))
    blocked_id: Mapped[str | None] = mapped_column(sa.String(64))
    superseded_by: Mapped[str | None] = mapped_column(Id)
    replay_of: Mapped[str | None] = mapped_column(Id)
    replay_mode: Mapped[str | None] = mapped_column(sa.String(8), comment="of a replay: current or as_sent")
    origin: Mapped[str] = mapped_column(sa.String(10), default="event")
    priority: Mapped[int] = mapped_column(sa.SmallInteger, default=0, comment="0 goes first")
    traceparent: Mapped[str | None] = mapped_column(sa.String(55), comment="of the event; its calls go on with it")
    last_call: Mapped[str | None] = mapped_column(
        sa.String(55), comment="traceparent of the last call, if it was traced; a retry links to it")
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    external_id: Mapped[str | None] = column_property(
        sa.select(Binding.external_id)
        .where(Binding.connection_id == connection_id, Binding.entity == entity, Binding.local_id == local_id)
        .scalar_subquery(), deferred=True)

    __table_args__ = (
        partial("uq_delivery_lane_in_flight", "connection_id", "entity", "local_id",
                where=one_of("state", IN_FLIGHT), unique=True),
        partial("uq_delivery_lane_waiting", "connection_id", "entity", "local_id",
                where=sa.text(f"{one_of('state', WAITING)} AND op = 'upsert'"), unique=True),
        partial("ix_delivery_lane_facts", "connection_id", "entity", "local_id", "id",
                where=sa.text(f"{one_of('state', (*WAITING, 'dead'))} AND op <> 'upsert'")),
        partial("ix_delivery_due", "connection_id", "priority", "due_at", "id", where=one_of("state", CLAIMABLE)),
        partial("ix_delivery_lease", "lease_until", where=sa.text("lease_until IS NOT NULL")),
        partial("ix_delivery_doubt", "due_at", where=sa.text("state = 'in_doubt'")),
        partial("ix_delivery_blocked_due", "due_at", where=sa.text("state = 'blocked'")),
        partial("uq_delivery_sent_again", "replay_of", "payload_hash", "replay_mode",
                where=sa.text("replay_of IS NOT NULL AND state <> 'cancelled'"), unique=True),
        partial("ix_delivery_blocked_on", "blocked_entity", "blocked_id", "connection_id",
                where=sa.text("state = 'blocked'")),
        # One for each filter of the list, in its order. Whoever filters by two walks the rows of one.
        partial("ix_delivery_error", "error_class", "id", where=sa.text("error_class IS NOT NULL")),
        sa.Index("ix_delivery_connection", "connection_id", "id"),
        sa.Index("ix_delivery_entity", "entity", "id"),
        sa.Index("ix_delivery_any_state", "state", "id"),
        sa.Index("ix_delivery_state", "connection_id", "state", "id"),
        sa.Index("ix_delivery_record", "local_id", "id"),
    )

    @property
    def blocked_on(self) -> str | None:
        """What it waits for, as `entity/id`."""
        return f"{self.blocked_entity}/{self.blocked_id}" if self.blocked_entity else None
