"""A version of a route's mapping, and the code tables that mappings look up."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, Json, UtcDateTime, new_id, utcnow
from services.integrations.models.base import Base


class MappingVersion(Base):
    """What a route's target is sent of a record. It never changes; `Route.mapping_version` says which one counts."""

    __tablename__ = "mapping_version"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    route_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("route.id"))
    number: Mapped[int] = mapped_column(comment="of this route's, from 1")
    text: Mapped[str] = mapped_column(sa.Text, comment="YAML, as it was saved")
    created_by: Mapped[str] = mapped_column(sa.String(80))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utcnow)

    __table_args__ = (sa.UniqueConstraint("route_id", "number"),)


class CodeTable(Base):
    """Our codes and theirs: taxes, units, payment terms, warehouses, currencies, categories."""

    __tablename__ = "code_table"

    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(60), primary_key=True)
    codes: Mapped[dict[str, Any]] = mapped_column(Json, comment="our code → theirs, a text or a whole number")
    updated_by: Mapped[str] = mapped_column(sa.String(80))
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
