"""Orders and their lines."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Sequence, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from chassis.database import ExactDecimal, Id, Json, UtcDateTime
from chassis.sealed import Sealed
from services.sales.domain import orders
from services.sales.models.base import Base, Versioned
from services.sales.models.shipment import Shipment

ORDER_SERIAL = Sequence("order_serial", metadata=Base.metadata)
"""Where PostgreSQL counts orders; SQLite has one writer at a time and counts the rows."""


class OrderLine(Base):
    """One line; what it says of the product is a copy from when the order was drafted."""

    __tablename__ = "order_line"

    order_id: Mapped[str] = mapped_column(Id, ForeignKey("sales_order.id"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    product_id: Mapped[str] = mapped_column(Id, ForeignKey("product.id"))
    sku: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(500))
    quantity: Mapped[Decimal] = mapped_column(ExactDecimal)
    unit_price: Mapped[Decimal] = mapped_column(ExactDecimal)
    tax_code: Mapped[str] = mapped_column(String(40))
    amount: Mapped[Decimal] = mapped_column(ExactDecimal)


class Order(Versioned, Base):
    """An order. `serial` is what its number counts; `line_count` spares a list from reading lines."""

    __tablename__ = "sales_order"

    serial: Mapped[int] = mapped_column(BigInteger, unique=True)
    number: Mapped[str] = mapped_column(String(30), unique=True)
    customer_id: Mapped[str] = mapped_column(Id)
    status: Mapped[str] = mapped_column(String(12), default=orders.DRAFT)
    currency: Mapped[str] = mapped_column(String(3))
    total: Mapped[Decimal] = mapped_column(ExactDecimal)
    line_count: Mapped[int]
    note: Mapped[str] = mapped_column(Text, default="")
    ship_street = Sealed("ship_street")
    ship_phone = Sealed("ship_phone")
    ship_locality: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    owner_id: Mapped[str] = mapped_column(Id)
    team_id: Mapped[str | None] = mapped_column(Id, default=None)
    created_by: Mapped[str] = mapped_column(Id)
    confirmed_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)
    cancelled_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)
    cancel_reason: Mapped[str | None] = mapped_column(String(300), default=None)
    fulfilled_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)

    lines: Mapped[list[OrderLine]] = relationship(order_by=OrderLine.line, cascade="all, delete-orphan", lazy="raise")
    shipments: Mapped[list[Shipment]] = relationship(order_by=Shipment.id, cascade="all, delete-orphan", lazy="raise")

    __table_args__ = (
        Index("ix_sales_order_created_at_id", "created_at", "id"),
        Index("ix_sales_order_updated_at_id", "updated_at", "id"),
        Index("ix_sales_order_status_created_at", "status", "created_at", "id"),
        Index("ix_sales_order_customer_id_created_at", "customer_id", "created_at", "id"),
        Index("ix_sales_order_owner_id_created_at", "owner_id", "created_at", "id"),
        Index("ix_sales_order_team_id_created_at", "team_id", "created_at", "id"),
    )

    @property
    def payment_status(self) -> str:
        """How far it is paid; nothing is recorded as paid yet."""
        return orders.payment_status(self.total, Decimal(0))

    @property
    def ship_to(self) -> dict[str, Any] | None:
        """Where it goes; street and phone are sealed apart from the town, which reports may group by."""
        if self.ship_locality is None:
            return None
        return {**self.ship_locality, "street": self.ship_street or "", "phone": self.ship_phone or ""}

    @ship_to.setter
    def ship_to(self, value: dict[str, Any] | None) -> None:
        given = value or {}
        plain = {name: text for name, text in given.items() if name not in ("street", "phone")}
        self.ship_locality = None if value is None else plain
        self.ship_street, self.ship_phone = given.get("street") or None, given.get("phone") or None
