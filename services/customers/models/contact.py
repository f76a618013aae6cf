"""The contact table."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id
from chassis.sealed import Sealed
from services.customers.models.base import Base, Versioned
from services.customers.models.consent import Consenting


class Contact(Versioned, Consenting, Base):
    """A person at a customer; one at most is primary, which the partial unique index holds."""

    __tablename__ = "contact"

    customer_id: Mapped[str] = mapped_column(Id, ForeignKey("customer.id"))
    name: Mapped[str] = mapped_column(String(200))
    phone = Sealed("phone", index=True)
    email = Sealed("email", index=True)
    role: Mapped[str] = mapped_column(String(100), default="")
    primary: Mapped[bool] = mapped_column("is_primary", default=False)

    __table_args__ = (
        Index("ix_contact_customer_id_id", "customer_id", "id"),
        Index("uq_contact_primary", "customer_id", unique=True, sqlite_where=text("is_primary"),
              postgresql_where=text("is_primary")),
    )
