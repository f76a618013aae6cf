"""The customer table."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import ByteOrdered, Id, Json, UtcDateTime
from chassis.sealed import Sealed
from services.customers.models.base import Base, Versioned
from services.customers.models.consent import Consenting


def _of_those_with_one(name: str, *columns: str) -> Index:
    has_one = text("next_follow_up_at IS NOT NULL")
    return Index(name, *columns, sqlite_where=has_one, postgresql_where=has_one)


class Customer(Versioned, Consenting, Base):
    """Somebody the company deals with. `name_key` is the name case-folded: by it names are sorted and searched."""

    __tablename__ = "customer"

    name: Mapped[str] = mapped_column(String(200))
    name_key: Mapped[str] = mapped_column(ByteOrdered(200))
    kind: Mapped[str] = mapped_column(String(10), default="person")
    phone = Sealed("phone", index=True)
    email = Sealed("email", index=True)
    wechat_id = Sealed("wechat_id", index=True)
    street = Sealed("street")
    locality: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    invoice: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    source: Mapped[str] = mapped_column(String(60), default="")
    level: Mapped[str] = mapped_column(String(30), default="")
    lifecycle: Mapped[str] = mapped_column(String(10), default="prospect")
    tags: Mapped[list[str]] = mapped_column(Json, default=list)
    preferences: Mapped[dict[str, str]] = mapped_column(Json, default=dict)
    next_follow_up_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, default=None)
    owner_id: Mapped[str | None] = mapped_column(Id, default=None)
    team_id: Mapped[str | None] = mapped_column(Id, default=None)

    __table_args__ = (
        Index("ix_customer_created_at_id", "created_at", "id"),
        Index("ix_customer_updated_at_id", "updated_at", "id"),
        Index("ix_customer_name_key", "name_key", "id"),
        Index("ix_customer_lifecycle_created_at", "lifecycle", "created_at", "id"),
        Index("ix_customer_lifecycle_updated_at", "lifecycle", "updated_at", "id"),
        Index("ix_customer_lifecycle_name_key", "lifecycle", "name_key", "id"),
        Index("ix_customer_owner_id_created_at", "owner_id", "created_at", "id"),
        # Most customers have none, and every index that one stands in makes its creation dearer.
        _of_those_with_one("ix_customer_follow_up", "next_follow_up_at", "id"),
        _of_those_with_one("ix_customer_owner_id_follow_up", "owner_id", "next_follow_up_at", "id"),
        Index("ix_customer_team_id_created_at", "team_id", "created_at", "id"),
    )

    @property
    def address(self) -> dict[str, Any] | None:
        """The address; its street is sealed apart from the town, which reports may group by."""
        return None if self.locality is None else {**self.locality, "street": self.street or ""}

    @address.setter
    def address(self, value: dict[str, Any] | None) -> None:
        self.locality = None if value is None else {k: v for k, v in value.items() if k != "street"}
        self.street = None if value is None else value.get("street") or None
