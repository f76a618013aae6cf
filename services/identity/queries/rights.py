"""What a user may do at this moment."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.identity.domain import rights
from services.identity.models import AccessVersion, Role, TeamMember, TeamPath, User, UserRole


@dataclass(frozen=True)
class Held:
    """Everything that goes into a subject.

    Attributes:
        teams: the user's teams, the home team first.
        tree: those and all below them.
        depths: what all roles give together.
        roles: names of the roles.
        version: rises whenever anybody's rights change.
    """

    teams: tuple[str, ...]
    tree: tuple[str, ...]
    depths: rights.Rights
    roles: tuple[str, ...]
    version: int


def of_user(session: Session, user_id: str) -> Held:
    """Return what the user holds; nothing for an unknown id."""
    roles = session.execute(
        select(Role.name, Role.depths).join(UserRole, UserRole.role_id == Role.id).where(UserRole.user_id == user_id)
    ).all()
    teams = session.scalars(
        select(TeamMember.team_id).where(TeamMember.user_id == user_id).order_by(TeamMember.position)
    ).all()
    below = select(TeamPath.descendant_id).where(TeamPath.ancestor_id.in_(teams)).distinct()
    return Held(
        teams=tuple(teams),
        tree=tuple(sorted(session.scalars(below))) if teams else (),
        depths=rights.merged(depths for _, depths in roles),
        roles=tuple(sorted(name for name, _ in roles)),
        version=session.scalars(select(AccessVersion.value)).one(),
    )


def active_holders(session: Session, role_id: str) -> int:
    """Return how many active users hold a role."""
    query = select(func.count()).select_from(User).join(UserRole, UserRole.user_id == User.id)
    return session.scalars(query.where(User.status == "active", UserRole.role_id == role_id)).one()
