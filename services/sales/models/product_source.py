"""What each record of the ERP says of a product."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import ByteOrdered, Id, Json
from services.sales.models.base import Base


class ProductSource(Base):
    """The newest that was told of one record, as of the record's `version`; a deleted one stays, without its state.

    Versions rise by themselves where changes are told; no clock decides what is newer. `state` is what
    `contracts.sales.ProductState` describes. Several records may have one SKU, and a record may get another.
    """

    __tablename__ = "product_source"

    connection_id: Mapped[str] = mapped_column(Id, primary_key=True)
    external_id: Mapped[str] = mapped_column(ByteOrdered(200), primary_key=True)
    version: Mapped[int]
    sku: Mapped[str | None] = mapped_column(ByteOrdered(100))
    active: Mapped[bool]
    state: Mapped[dict[str, Any] | None] = mapped_column(Json)

    __table_args__ = (Index("ix_product_source_sku", "sku"),)
