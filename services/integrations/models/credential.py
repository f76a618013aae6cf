"""A credential: the sealed secret of a connection."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime, new_id
from services.integrations.models.base import Base


class Credential(Base):
    """The secrets with which a connection signs in, sealed under the data key named in the text itself.

    `refresh_owner` and `refresh_until` let one worker alone renew a token that ends.
    """

    __tablename__ = "credential"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    connection_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("connection.id"), unique=True)
    version: Mapped[int] = mapped_column(default=1)
    ciphertext: Mapped[str] = mapped_column(sa.Text)
    key_id: Mapped[str] = mapped_column(sa.String(16))
    status: Mapped[str] = mapped_column(sa.String(16), default="untried", comment="untried, accepted, refused")
    expires_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    refresh_owner: Mapped[str | None] = mapped_column(sa.String(120))
    refresh_until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    updated_by: Mapped[str] = mapped_column(sa.String(80))
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
