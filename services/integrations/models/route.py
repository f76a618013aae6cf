"""A route: which entity travels over a connection, and which way."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, Json, UtcDateTime, new_id
from services.integrations.domain.merging import Owner
from services.integrations.models.base import Base


class Route(Base):
    """entity → connection. At most one per pair, so that a change is never accepted twice for one target.

    `filter` is an expression over our record (JMESPath): whether it is made there.
    """

    __tablename__ = "route"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    version: Mapped[int] = mapped_column(default=1)
    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"))
    entity: Mapped[str] = mapped_column(sa.String(40))
    direction: Mapped[str] = mapped_column(sa.String(8))
    state: Mapped[str] = mapped_column(sa.String(10), default="draft")
    filter: Mapped[str | None] = mapped_column(Json)
    mapping_version: Mapped[int | None]
    # Nothing reads it. It goes with a later release: until then processes that still name it may run beside this one.
    conflict_policy: Mapped[str | None] = mapped_column(sa.String(20), deferred=True)
    owners: Mapped[dict[str, Owner] | None] = mapped_column(
        Json, comment="field -> whose it is where both sides changed it, as far as it is said")
    on_missing: Mapped[str] = mapped_column(
        sa.String(10), default="recreate", comment="what becomes of a record that has gone there: recreate or conflict")
    created_by: Mapped[str] = mapped_column(sa.String(80))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        sa.UniqueConstraint("connection_id", "entity"),
        sa.Index("ix_route_entity_state", "entity", "state"),
    )
