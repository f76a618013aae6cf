"""The product table."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from sqlalchemy import CheckConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import ByteOrdered, ExactDecimal, Id, UtcDateTime
from services.sales.domain import stock
from services.sales.models.base import Base, Versioned


class Product(Versioned, Base):
    """Something that can be sold, as the ERP had it at `stock_at`.

    `reserved` is the sum of its open reservations, kept in the row so that the row's lock is all that a confirmation
    needs. `connection_id` and `external_id` name the ERP's record that it comes from.
    """

    __tablename__ = "product"

    sku: Mapped[str] = mapped_column(ByteOrdered(100), unique=True)
    sku_key: Mapped[str] = mapped_column(ByteOrdered(200))
    name: Mapped[str] = mapped_column(String(500))
    name_key: Mapped[str] = mapped_column(ByteOrdered(1000))
    category: Mapped[str] = mapped_column(String(200), default="")
    price: Mapped[Decimal | None] = mapped_column(ExactDecimal)
    currency: Mapped[str] = mapped_column(String(3))
    tax_code: Mapped[str] = mapped_column(String(40), default="")
    active: Mapped[bool] = mapped_column(default=True)
    on_hand: Mapped[Decimal | None] = mapped_column(ExactDecimal)
    reserved: Mapped[Decimal] = mapped_column(ExactDecimal, default=Decimal(0))
    stock_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    connection_id: Mapped[str] = mapped_column(Id)
    external_id: Mapped[str] = mapped_column(String(200))

    __table_args__ = (
        CheckConstraint("reserved >= 0", name="reserved"),
        Index("ix_product_sku_key", "sku_key"),
        Index("ix_product_name_key", "name_key"),
        Index("ix_product_name_id", "name", "id"),
        Index("ix_product_source", "connection_id", "external_id"),
    )

    @property
    def available(self) -> Decimal | None:
        """What can still be promised."""
        return stock.available(self.on_hand, self.reserved)
