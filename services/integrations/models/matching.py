"""What go-live matching works with while its run is open: keyed hashes of both sides, and the pairs that they make."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from chassis.database import Id
from services.integrations.domain.matching import STRONG
from services.integrations.models.base import Base, one_of, partial

OURS, THEIRS = "ours", "theirs"


class MatchKey(Base):
    """One thing that a record of one side is known by; equal keys of a run have equal hashes."""

    __tablename__ = "match_key"

    run_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("run.id"), primary_key=True)
    hash: Mapped[str] = mapped_column(sa.String(22), primary_key=True, comment="keyed, of kind and value: 128 bits")
    side: Mapped[str] = mapped_column(sa.String(6), primary_key=True)
    id: Mapped[str] = mapped_column(sa.String(200), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(10))

    __table_args__ = (
        partial("ix_match_key_record", "run_id", "side", "kind", "id", where=one_of("kind", sorted(STRONG))),
        {"sqlite_with_rowid": False},
    )


class MatchRemote(Base):
    """A record of the target as it was listed, kept to be shown beside ours."""

    __tablename__ = "match_remote"

    run_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("run.id"), primary_key=True)
    external_id: Mapped[str] = mapped_column(sa.String(200), primary_key=True)
    known_by_sealed: Mapped[str] = mapped_column(sa.Text, comment="JSON, sealed for match|run|external id")
    active: Mapped[bool]


class MatchPair(Base):
    """A record of each side that have keys of one kind in common; `others` tells that a third has one of them too."""

    __tablename__ = "match_pair"

    run_id: Mapped[str] = mapped_column(Id, sa.ForeignKey("run.id"), primary_key=True)
    local_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    external_id: Mapped[str] = mapped_column(sa.String(200), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    others: Mapped[int] = mapped_column(sa.SmallInteger)

    __table_args__ = (
        sa.Index("ix_match_pair_external", "run_id", "external_id", "local_id"),
        {"sqlite_with_rowid": False},
    )
