"""What a reconciliation keeps while it runs: what the target listed, and what looked wrong."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id, new_id
from services.integrations.models.base import Base


class Listed(Base):
    """One row of a target's listing, in its order; deleted when the run ends. Nothing in it can be read in clear."""

    __tablename__ = "listed"

    run_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("run.id"), primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    external_id: Mapped[str] = mapped_column(sa.String(200))
    local_id: Mapped[str | None] = mapped_column(sa.String(64), comment="of ours, if it is bound")
    own_key: Mapped[str | None] = mapped_column(
        sa.String(64), comment="keyed hash of our id, or the natural key, that it carries")
    content: Mapped[str] = mapped_column(sa.String(64), comment="keyed hash of what it tells but for ids")
    active: Mapped[bool]

    __table_args__ = (
        sa.Index("ix_listed_external", "run_id", "external_id"),
        sa.Index("ix_listed_own_key", "run_id", "own_key"),
        sa.Index("ix_listed_content", "run_id", "content"),
    )


class Suspected(Base):
    """Something that looked wrong; asked again on both sides it becomes a finding, or nothing."""

    __tablename__ = "suspected"

    run_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("run.id"), primary_key=True)
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    kind: Mapped[str] = mapped_column(sa.String(20))
    local_id: Mapped[str | None] = mapped_column(sa.String(64))
    external_id: Mapped[str | None] = mapped_column(sa.String(200))
    candidate: Mapped[str | None] = mapped_column(sa.String(200))
