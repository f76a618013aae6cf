"""Which users, and which rows that belong to users, a subject can reach."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, or_, select

from chassis.access import visible
from chassis.context import Subject
from contracts.operation import Permission
from services.identity.models import Team, TeamMember, User


def over_users(subject: Subject, permission: Permission, user_id: Any = User.id) -> ColumnElement[bool]:
    """Return the condition that the user named by `user_id` is within reach: oneself, or a member of a near team."""
    depth = subject.depth(permission.entity, permission.action)
    teams = {"team": subject.teams, "tree": subject.tree}.get(depth, ())
    peers = select(TeamMember.user_id).where(TeamMember.user_id == user_id, TeamMember.team_id.in_(teams))
    return visible(subject, permission, owner=user_id, members=peers)


def own_or(subject: Subject, permission: Permission, user_id: Any) -> ColumnElement[bool]:
    """Return the condition that a row belongs to the person who asks, right or no right, or to a user within reach.

    An API key is not the person: it needs the right, so that a narrow key cannot end its owner's sessions.
    """
    reached = over_users(subject, permission, user_id)
    return or_(user_id == subject.id, reached) if subject.kind == "user" else reached


def over_teams(subject: Subject, permission: Permission) -> ColumnElement[bool]:
    """Return the condition that a team is one of the subject's, or below one, as deep as the permission goes."""
    return visible(subject, permission, team=Team.id)
