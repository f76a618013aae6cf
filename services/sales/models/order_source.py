"""Which record of the ERP is which order."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import ByteOrdered, Id
from services.sales.models.base import Base


class OrderSource(Base):
    """How far one record of the ERP was followed: its newest `version` that was told, and the order it was said to be.

    Versions rise by themselves where changes are told; no clock decides what is newer.
    """

    __tablename__ = "order_source"

    connection_id: Mapped[str] = mapped_column(Id, primary_key=True)
    external_id: Mapped[str] = mapped_column(ByteOrdered(200), primary_key=True)
    version: Mapped[int]
    order_id: Mapped[str | None] = mapped_column(String(100))
