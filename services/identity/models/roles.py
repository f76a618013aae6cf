"""Roles, and the counter that says whether anybody's rights have changed."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Json
from contracts.depth import Depth
from services.identity.models.base import Base, Versioned


class Role(Versioned, Base):
    """A bundle of rights: entity → action → depth."""

    __tablename__ = "role"

    name: Mapped[str] = mapped_column(String(40), unique=True)
    title: Mapped[str] = mapped_column(String(120))
    built_in: Mapped[bool] = mapped_column(default=False)
    depths: Mapped[dict[str, dict[str, Depth]]] = mapped_column(Json)


class AccessVersion(Base):
    """A single row. Its lock also orders changes of rights, so that two administrators cannot lock each other out."""

    __tablename__ = "access_version"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[int]
