"""Adding, changing and shutting out users."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DbSession

from chassis import outbox
from chassis.access import covers
from chassis.audit import trail
from chassis.context import Subject
from chassis.database import new_id, utcnow
from contracts import identity as contract
from contracts.errors import AlreadyExists, Conflict, Forbidden, Invalid
from contracts.operation import Permission
from services.identity.models import ApiKey, Role, Session, Team, TeamMember, User
from services.identity.operations import access
from services.identity.queries import reach, rows


def create(session: DbSession, request: dict[str, Any], by: Subject) -> User:
    """Add a user, without a password yet.

    Raises:
        AlreadyExists: the user name or the e-mail address is taken.
        Forbidden: a role gives more than `by` has, or a team is out of reach.
        Invalid: an unknown team or role.
    """
    team_ids = request.pop("team_ids", [])
    role_ids = request.pop("role_ids", [])
    _refuse_unreachable_teams(by, contract.USER_CREATE, team_ids)
    if by.depth("user", "create") != "all" and not team_ids:
        raise Forbidden("A new user must be in one of your teams")
    user = User(id=new_id(), created_by=by.id, **request)
    _refuse_strangers(session, team_ids=team_ids, role_ids=role_ids)
    user.memberships = _memberships(team_ids)
    user.roles = _roles(session, role_ids, by)
    session.add(user)
    _flush(session)
    return user


def change(
    session: DbSession, id: str, changes: dict[str, Any], by: Subject, expected_version: int | None = None
) -> User:
    """Change a user; lists of teams and roles replace what was there.

    Raises:
        NotFound: no such user within reach.
        StaleVersion: the user is no longer at `expected_version`.
        AlreadyExists: the user name or the e-mail address is taken.
        Forbidden: a role, or the user, has more rights than `by`, or a team is out of reach.
        Conflict: nobody could administer the hub any more.
    """
    access.changed(session, reason="user", user_id=id, by=by)
    user = rows.locked(session, User, id, reach.over_users(by, contract.USER_CHANGE), expected_version)
    access.refuse_above(session, user, by)
    was_admin = access.is_admin(user)
    trail.before(session, **{name: getattr(user, name) for name in ("username", "team_ids", "role_ids")
                             if name in changes})
    if "team_ids" in changes:
        _refuse_unreachable_teams(by, contract.USER_CHANGE, set(changes["team_ids"]) ^ set(user.team_ids))
    _refuse_strangers(session, team_ids=changes.get("team_ids", []), role_ids=changes.get("role_ids", []))
    if "team_ids" in changes:
        _replace_memberships(session, user, changes.pop("team_ids"))
    if "role_ids" in changes:
        user.roles = _roles(session, changes.pop("role_ids"), by)
    for name, value in changes.items():
        setattr(user, name, value)
    user.version += 1
    _flush(session)
    if was_admin:
        access.refuse_last_admin(session)
    return user


def disable(session: DbSession, id: str, by: Subject, expected_version: int | None = None) -> User:
    """Shut a user out: every session and API key ends with this transaction. Repeating it changes nothing.

    Raises:
        NotFound: no such user within reach.
        StaleVersion: the user is no longer at `expected_version`.
        Forbidden: the user may do more than `by`.
        Conflict: `by` is the user, or the last administrator.
    """
    access.changed(session, reason="user", user_id=id, by=by)
    user = rows.locked(session, User, id, reach.over_users(by, contract.USER_CHANGE), expected_version)
    if user.id == by.id:
        raise Conflict("Nobody can disable themselves")
    if user.status == "disabled":
        return user
    access.refuse_above(session, user, by)
    now = utcnow()
    user.status, user.disabled_at = "disabled", now
    user.version += 1
    if access.is_admin(user):
        access.refuse_last_admin(session)
    end_sessions(session, user.id, now)
    keys = update(ApiKey).where(ApiKey.owner_id == user.id, ApiKey.revoked_at.is_(None))
    session.execute(keys.values(revoked_at=now))
    fact: dict[str, Any] = {"id": user.id, "username": user.username, "name": user.name, "team_ids": user.team_ids}
    fact |= {"disabled_at": now, "disabled_by": by.id}
    outbox.record(session, contract.USER_DISABLED, subject=user.id, version=user.version, data=fact, by=by)
    return user


def enable(session: DbSession, id: str, by: Subject, expected_version: int | None = None) -> User:
    """Let a disabled user in again. Sessions and API keys that ended stay ended.

    Raises:
        NotFound: no such user within reach.
        StaleVersion: the user is no longer at `expected_version`.
        Forbidden: the user may do more than `by`.
    """
    access.changed(session, reason="user", user_id=id, by=by)
    user = rows.locked(session, User, id, reach.over_users(by, contract.USER_CHANGE), expected_version)
    if user.status == "active":
        return user
    access.refuse_above(session, user, by)
    user.status, user.disabled_at = "active", None
    user.version += 1
    return user


def end_sessions(session: DbSession, user_id: str, now: dt.datetime, *, but: str = "") -> None:
    """End all open sessions of a user, except the one with the id `but`."""
    open_ones = update(Session).where(Session.user_id == user_id, Session.revoked_at.is_(None), Session.id != but)
    session.execute(open_ones.values(revoked_at=now))


def _flush(session: DbSession) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        taken = "email" if "email" in str(error.orig) else "username"
        raise AlreadyExists(f"Another user has this {taken}", field=taken) from error


def _refuse_unreachable_teams(by: Subject, permission: Permission, team_ids: Any) -> None:
    beyond = sorted(id for id in team_ids if not covers(by, permission, team=id))
    if beyond:
        raise Forbidden("A team is out of your reach", team_ids=beyond)


def _memberships(team_ids: list[str]) -> list[TeamMember]:
    return [TeamMember(team_id=id, position=position) for position, id in enumerate(dict.fromkeys(team_ids))]


def _replace_memberships(session: DbSession, user: User, team_ids: list[str]) -> None:
    wanted = _memberships(team_ids)
    # The old rows go first: a team that stays would collide with its own new row.
    user.memberships = []
    session.flush()
    user.memberships = wanted


def _roles(session: DbSession, role_ids: list[str], by: Subject) -> list[Role]:
    found = list(session.scalars(select(Role).where(Role.id.in_(role_ids)).order_by(Role.name)))
    for role in found:
        access.refuse_excess([role.depths], by, f"The role {role.name}")
    return found


def _refuse_strangers(session: DbSession, *, team_ids: list[str], role_ids: list[str]) -> None:
    """Refuse ids of no team and of no role, all at once."""
    unknown: list[dict[str, str]] = []
    for field, asked, column in (("team_ids", team_ids, Team.id), ("role_ids", role_ids, Role.id)):
        known = set(session.scalars(select(column).where(column.in_(asked)))) if asked else set()
        unknown += [{"pointer": f"/{field}/{at}", "code": "unknown", "message": "There is no such record."}
                    for at, id in enumerate(asked) if id not in known]
    if unknown:
        raise Invalid("The request names records that are not there", errors=unknown)
