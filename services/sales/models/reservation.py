"""Stock that a confirmed order has been promised."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import ExactDecimal, Id, UtcDateTime, new_id, utcnow
from services.sales.models.base import Base


class Reservation(Base):
    """How much of a product an order holds; open until `released_at`.

    What leaves of it becomes a row of its own. `shipped_at` alone does not end it: the goods have left, but the count
    that we know may still hold them.
    """

    __tablename__ = "reservation"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    order_id: Mapped[str] = mapped_column(Id, ForeignKey("sales_order.id"))
    product_id: Mapped[str] = mapped_column(Id, ForeignKey("product.id"))
    quantity: Mapped[Decimal] = mapped_column(ExactDecimal)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=utcnow)
    shipped_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)
    released_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)

    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity"),
        Index("uq_reservation_promised", "order_id", "product_id", unique=True,
              sqlite_where=text("shipped_at IS NULL"), postgresql_where=text("shipped_at IS NULL")),
        Index("ix_reservation_open", "product_id", sqlite_where=text("released_at IS NULL"),
              postgresql_where=text("released_at IS NULL")),
    )
