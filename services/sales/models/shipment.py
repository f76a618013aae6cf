"""What the ERP has shipped of orders, or is about to."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from chassis.database import ByteOrdered, ExactDecimal, Id, UtcDateTime, new_id
from services.sales.models.base import Base


class ShipmentLine(Base):
    """How much of one product is in a shipment; `line` counts from 1."""

    __tablename__ = "shipment_line"

    shipment_id: Mapped[str] = mapped_column(Id, ForeignKey("shipment.id"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sku: Mapped[str] = mapped_column(String(100))
    quantity: Mapped[Decimal] = mapped_column(ExactDecimal)


class Shipment(Base):
    """A shipment as the ERP told it last; final once `done_at` is set.

    One of theirs may hold goods of several orders; then there is a row for each, with what is that order's.
    """

    __tablename__ = "shipment"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    order_id: Mapped[str] = mapped_column(Id, ForeignKey("sales_order.id"))
    connection_id: Mapped[str] = mapped_column(Id)
    external_id: Mapped[str] = mapped_column(ByteOrdered(200))
    number: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(40))
    done_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)

    lines: Mapped[list[ShipmentLine]] = relationship(
        order_by=ShipmentLine.line, cascade="all, delete-orphan", lazy="selectin")

    __table_args__ = (UniqueConstraint("order_id", "connection_id", "external_id"),)
