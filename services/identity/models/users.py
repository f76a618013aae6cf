"""Users, and the roles they hold."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from chassis.database import UtcDateTime
from chassis.sealed import Sealed
from services.identity.models.base import Base, Versioned
from services.identity.models.roles import Role
from services.identity.models.teams import TeamMember


class UserRole(Base):
    """A role held by a user."""

    __tablename__ = "user_role"

    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    role_id: Mapped[str] = mapped_column(ForeignKey("role.id"), primary_key=True, index=True)


class User(Versioned, Base):
    """A person who works with the hub."""

    __tablename__ = "user_account"

    username: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    email = Sealed("email", index=True, unique=True, normalise=str.lower)
    phone = Sealed("phone")
    locale: Mapped[str] = mapped_column(String(10), default="zh-CN")
    status: Mapped[str] = mapped_column(String(10), default="active")
    disabled_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    password_hash: Mapped[str | None] = mapped_column(String(200))
    password_changed_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    must_change_password: Mapped[bool] = mapped_column(default=False)
    last_sign_in_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(64))

    memberships: Mapped[list[TeamMember]] = relationship(
        lazy="selectin", order_by=TeamMember.position, cascade="all, delete-orphan"
    )
    roles: Mapped[list[Role]] = relationship(lazy="selectin", secondary="user_role", order_by=Role.name)

    @property
    def team_ids(self) -> list[str]:
        """Ids of the user's teams, the home team first."""
        return [membership.team_id for membership in self.memberships]

    @property
    def role_ids(self) -> list[str]:
        """Ids of the roles that the user holds."""
        return [role.id for role in self.roles]

    @property
    def has_password(self) -> bool:
        """Whether the user can sign in with a password."""
        return self.password_hash is not None
