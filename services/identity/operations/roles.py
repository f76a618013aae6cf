"""Making and changing roles."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.access import visible
from chassis.audit import trail
from chassis.context import Subject
from chassis.database import new_id
from contracts import identity as contract
from contracts.errors import AlreadyExists, Conflict
from services.identity.domain.roles import ADMIN_ROLE_ID
from services.identity.models import Role, UserRole
from services.identity.operations import access
from services.identity.queries import rows


def create(session: Session, request: dict[str, Any], by: Subject) -> Role:
    """Add a role that nobody holds yet.

    Raises:
        AlreadyExists: the name is taken.
        Forbidden: it would give more than `by` has.
        Invalid: it names an entity or action that there is not.
    """
    access.refuse_unknown(request["depths"], "/depths")
    access.refuse_excess([request["depths"]], by, f"The role {request['name']}")
    role = Role(id=new_id(), **request)
    session.add(role)
    try:
        session.flush()
    except IntegrityError as error:
        raise AlreadyExists("Another role has this name", field="name") from error
    return role


def change(session: Session, id: str, changes: dict[str, Any], by: Subject, expected_version: int) -> Role:
    """Change a role, and with it what all its holders may do from now on.

    Raises:
        NotFound: no such role.
        StaleVersion: the role is no longer at `expected_version`.
        Conflict: the role admin is fixed.
        Forbidden: it gives, or would give, more than `by` has.
        Invalid: it would name an entity or action that there is not.
    """
    access.refuse_unknown(changes.get("depths", {}), "/changes/depths")
    access.changed(session, reason="role", user_id=None, by=by)
    role = rows.locked(session, Role, id, visible(by, contract.ROLE_CHANGE), expected_version)
    if role.id == ADMIN_ROLE_ID:
        raise Conflict("The role admin is fixed: without it nobody could administer the hub")
    access.refuse_excess([role.depths, changes.get("depths", {})], by, f"The role {role.name}")
    trail.before(session, **{name: getattr(role, name) for name in changes})
    for name, value in changes.items():
        setattr(role, name, value)
    role.version += 1
    session.flush()
    return role


def remove(session: Session, id: str, by: Subject, expected_version: int) -> None:
    """Delete a role that nobody holds.

    Raises:
        NotFound: no such role.
        StaleVersion: the role is no longer at `expected_version`.
        Conflict: it is built in, or somebody holds it.
    """
    access.changed(session, reason="role", user_id=None, by=by)
    role = rows.locked(session, Role, id, visible(by, contract.ROLE_DELETE), expected_version)
    if role.built_in:
        raise Conflict("A built-in role stays; take it from its holders instead")
    if session.scalar(select(exists().where(UserRole.role_id == id))):
        raise Conflict("Somebody holds the role; take it from them first")
    trail.before(session, name=role.name, depths=role.depths)
    session.delete(role)
    session.flush()
