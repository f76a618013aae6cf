"""The small copy of customers."""

from __future__ import annotations

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id
from services.tickets.models.base import Base


class CustomerRef(Base):
    """What tickets knows of a customer, as of the customer's `version`; fed by events alone."""

    __tablename__ = "customer_ref"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    version: Mapped[int]
    name: Mapped[str] = mapped_column(String(200))
    owner_id: Mapped[str | None] = mapped_column(Id)
    team_id: Mapped[str | None] = mapped_column(Id)

    __table_args__ = (
        Index("ix_customer_ref_owner_id", "owner_id", "id"),
        Index("ix_customer_ref_team_id", "team_id", "id"),
    )
