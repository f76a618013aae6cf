"""A finding: one thing that a run has found, and what is to be done about it."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, object_session

from chassis.crypto import Keyring
from chassis.database import Id, Json, UtcDateTime, new_id
from chassis.sealed import KeyringMissing, keyring_of
from services.integrations.models.base import Base


class Finding(Base):
    """`fields` are the names of those that differ; their values, of both sides, are in `detail`, which is sealed."""

    __tablename__ = "finding"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    version: Mapped[int] = mapped_column(default=1)
    run_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("run.id"))
    kind: Mapped[str] = mapped_column(sa.String(20))
    local_id: Mapped[str | None] = mapped_column(sa.String(64))
    external_id: Mapped[str | None] = mapped_column(sa.String(200))
    candidates: Mapped[list[str]] = mapped_column(Json)
    fields: Mapped[list[str]] = mapped_column(Json)
    detail_sealed: Mapped[str | None] = mapped_column(sa.Text)
    decision: Mapped[str | None] = mapped_column(sa.String(12))
    state: Mapped[str] = mapped_column(sa.String(10), default="open")
    decided_by: Mapped[str | None] = mapped_column(sa.String(80))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        # One for each filter of a run's list, in its order.
        sa.Index("ix_finding_run", "run_id", "id"),
        sa.Index("ix_finding_kind", "run_id", "kind", "id"),
        sa.Index("ix_finding_state", "run_id", "state", "id"),
        sa.Index("ix_finding_external", "run_id", "external_id"),
    )

    @property
    def detail(self) -> dict[str, Any] | None:
        """The values of both sides, in clear."""
        if self.detail_sealed is None:
            return None
        session = object_session(self)
        if session is None:
            raise KeyringMissing("this finding has left its session and cannot be opened")
        detail: dict[str, Any] = json.loads(keyring_of(session).open(self.detail_sealed, _place(self.id)))
        return detail


def sealed_detail(keyring: Keyring, finding_id: str, detail: dict[str, Any] | None) -> str | None:
    """Return what `detail_sealed` keeps of a finding, bound to its row."""
    return None if detail is None else keyring.seal(json.dumps(detail, ensure_ascii=False), _place(finding_id))


def _place(finding_id: str) -> str:
    return f"finding|detail|{finding_id}"
