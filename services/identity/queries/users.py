"""Users, as far as the subject sees them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.paging import Page
from contracts import identity as contract
from contracts import users as described
from contracts.errors import Forbidden, Unauthenticated
from contracts.schema import Codec
from services.identity.models import TeamMember, User, UserRole
from services.identity.queries import reach, rights, rows

_TYPED = "hub.typed"
"""Setting of one transaction on PostgreSQL."""


def get(session: Session, id: str, subject: Subject) -> User:
    """Return a user.

    Raises:
        NotFound: no such user within reach.
    """
    return rows.one(session, User, id, reach.over_users(subject, contract.USER_READ))


def named(session: Session, username: str) -> User | None:
    """Return the user with this name, or None.

    What was typed may be a phone number, or a password in the wrong field, and PostgreSQL logs a statement that fails
    with every value in it. So it is handed over by a statement that waits for nothing, and only referred to here.
    """
    name: Any = username
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.set_config(_TYPED, username, True)))
        name = func.current_setting(_TYPED)
    return session.scalars(select(User).where(User.username == name)).one_or_none()


def listed(session: Session, request: dict[str, Any], subject: Subject, codec: Codec) -> Page:
    """Return a page of users."""
    query = select(User).where(reach.over_users(subject, contract.USER_READ))
    if "username" in request:
        query = query.where(User.username == request["username"])
    if "email" in request:
        query = query.where(User.email.equals(session, request["email"]))
    if "status" in request:
        query = query.where(User.status == request["status"])
    if "team_id" in request:
        query = query.where(
            User.id.in_(select(TeamMember.user_id).where(TeamMember.team_id == request["team_id"]))
        )
    if "role_id" in request:
        query = query.where(User.id.in_(select(UserRole.user_id).where(UserRole.role_id == request["role_id"])))
    return rows.page(session, query, User, request, subject, codec)


def me(session: Session, subject: Subject) -> dict[str, Any]:
    """Return the caller's own record with the rights of this call.

    Raises:
        Forbidden: the caller is a service, which has no record.
        Unauthenticated: the user was disabled a moment ago.
    """
    if subject.kind == "service":
        raise Forbidden("A service is nobody")
    user = oneself(session, subject)
    record = {name: getattr(user, name) for name in described.User().fields}
    return record | {
        "roles": rights.of_user(session, user.id).roles,
        "teams": subject.teams,
        "tree": subject.tree,
        "depths": subject.depths,
        "roles_version": subject.roles_version,
        "via": subject.via,
    }


def oneself(session: Session, subject: Subject) -> User:
    """Return the user who asks.

    Raises:
        Unauthenticated: they were disabled after the gateway made sure who they are.
    """
    user = session.get(User, subject.id)
    if user is None or user.status != "active":
        raise Unauthenticated("The account is not active any more", presented=True)
    return user
