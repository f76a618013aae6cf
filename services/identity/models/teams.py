"""The tree of teams as a closure table, and who is in which team."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, func
from sqlalchemy.orm import Mapped, mapped_column

from services.identity.models.base import Base, Versioned


class Team(Versioned, Base):
    """A group of people. Two teams under one parent have different names."""

    __tablename__ = "team"

    name: Mapped[str] = mapped_column(String(120))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("team.id"), index=True)


# Teams at the top have no parent, and NULLs would never collide.
Index("uq_team_parent_name", func.coalesce(Team.parent_id, ""), Team.name, unique=True)


class TeamPath(Base):
    """One row for each team and each team at or below it; `distance` 0 is the team itself."""

    __tablename__ = "team_path"

    ancestor_id: Mapped[str] = mapped_column(ForeignKey("team.id", ondelete="CASCADE"), primary_key=True)
    descendant_id: Mapped[str] = mapped_column(ForeignKey("team.id", ondelete="CASCADE"), primary_key=True, index=True)
    distance: Mapped[int]


class TeamMember(Base):
    """A user in a team; position 0 is the home team."""

    __tablename__ = "team_member"

    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("team.id"), primary_key=True, index=True)
    position: Mapped[int]
