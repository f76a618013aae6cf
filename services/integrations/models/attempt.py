"""An attempt: one call for a delivery."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column, object_session

from chassis.database import Id, UtcDateTime, new_id
from chassis.sealed import keyring_of
from services.integrations.models.base import Base


class Attempt(Base):
    """Written before bytes leave and closed when the answer is in.

    Previews are redacted, at most 20 kB, and sealed: redaction knows secrets, phones, emails and what is called
    street, but no name of a person.

    `n` is the fence of the lease under which the call was made, so one lease is one call.
    """

    __tablename__ = "attempt"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    delivery_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("delivery.id"))
    n: Mapped[int]
    fence: Mapped[int]
    action: Mapped[str] = mapped_column(sa.String(8), comment="write, delete or find")
    started_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    outcome: Mapped[str | None] = mapped_column(sa.String(16))
    error_class: Mapped[str | None] = mapped_column(sa.String(24))
    http_status: Mapped[int | None]
    retry_after_s: Mapped[float | None] = mapped_column(sa.Float)
    duration_ms: Mapped[int | None]
    request_preview_sealed: Mapped[str | None] = mapped_column(sa.Text)
    response_preview_sealed: Mapped[str | None] = mapped_column(sa.Text)
    payload_sealed: Mapped[str | None] = mapped_column(sa.Text, comment="what the call was made of, if it sent any")
    trace_id: Mapped[str | None] = mapped_column(sa.String(64))

    __table_args__ = (sa.UniqueConstraint("delivery_id", "n"),)

    @property
    def request_preview(self) -> str | None:
        """What was sent, redacted."""
        return self._opened("request_preview", self.request_preview_sealed)

    @property
    def response_preview(self) -> str | None:
        """What came back, redacted."""
        return self._opened("response_preview", self.response_preview_sealed)

    def _opened(self, name: str, sealed: str | None) -> str | None:
        session = object_session(self)
        if sealed is None or session is None:
            return None
        return keyring_of(session).open(sealed, _place(name, self.delivery_id, self.n))


def sealed_preview(session: Session, name: str, delivery_id: str, n: int, text: str | None) -> str | None:
    """Return a preview as its column keeps it, bound to the attempt."""
    return None if text is None else keyring_of(session).seal(text, _place(name, delivery_id, n))


def _place(name: str, delivery_id: str, n: int) -> str:
    return f"attempt|{name}|{delivery_id}|{n}"
