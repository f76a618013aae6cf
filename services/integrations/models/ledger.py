"""The accepting side of the ledger, and what was rolled up before it was pruned."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id
from services.integrations.models.base import Base


class LedgerRow(Base):
    """Counters of one connection. `accepted` is counted where deliveries are accepted, never derived from the rest.

    The others count settled deliveries whose rows have been pruned.
    """

    __tablename__ = "ledger"

    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"), primary_key=True)
    accepted: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    delivered: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    skipped: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    superseded: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    dead: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    cancelled: Mapped[int] = mapped_column(sa.BigInteger, default=0)
