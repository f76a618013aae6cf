"""Attempts to sign in, and the counters that slow them down."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, UtcDateTime, new_id
from services.identity.models.base import Base


class LoginEvent(Base):
    """One attempt to sign in. A name that nobody has is not kept: it may be a password in the wrong field."""

    __tablename__ = "login_event"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    outcome: Mapped[str] = mapped_column(String(20))
    source: Mapped[str] = mapped_column(String(64))
    user_agent: Mapped[str] = mapped_column(String(200))
    at: Mapped[dt.datetime] = mapped_column(UtcDateTime, index=True)


class SignInGuard(Base):
    """Failures in a row of one user name or one source; both are kept as keyed hashes."""

    __tablename__ = "sign_in_guard"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[dt.datetime] = mapped_column(UtcDateTime, index=True)
    locked_until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
