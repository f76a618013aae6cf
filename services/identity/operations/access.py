"""Announcing that rights have changed, and refusing to give away what one does not have."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import update
from sqlalchemy.orm import Session

from chassis import outbox
from chassis.context import Subject
from contracts import identity as contract
from contracts.depth import Depths
from contracts.errors import Conflict, Forbidden, Invalid, Refusals
from services.identity.domain import rights
from services.identity.domain.roles import ADMIN_ROLE_ID, unknown
from services.identity.models import AccessVersion, User
from services.identity.queries.rights import active_holders, of_user


def changed(session: Session, *, reason: str, user_id: str | None, by: Subject) -> int:
    """Raise the version of all rights and tell the gateways to forget what they know.

    The version's row stays locked until the transaction ends, so changes of rights follow one another: call this before
    looking at what the change depends on.

    Args:
        session: the transaction of the change.
        reason: one of `contracts.identity.ACCESS_REASONS`.
        user_id: whose rights; None if they may be several people's.
        by: who changes them.

    Returns:
        The new version.
    """
    raised = update(AccessVersion).values(value=AccessVersion.value + 1).returning(AccessVersion.value)
    version = session.scalars(raised).one()
    data = {"user_id": user_id, "reason": reason, "roles_version": version}
    outbox.record(session, contract.ACCESS_CHANGED, subject=user_id or "everyone", version=version, data=data, by=by)
    return version


def refuse_unknown(wanted: Depths, pointer: str) -> None:
    """Refuse rights of which nothing would ever ask: a slip of the pen there gives nothing, and nobody would notice.

    Args:
        wanted: what is to be granted.
        pointer: where it stands in the request.

    Raises:
        Invalid: with every unknown entity and action.
    """
    refusals = Refusals()
    for (entity, *action), names in unknown(wanted):
        kind = f"action on {entity}" if action else "entity"
        with refusals.noted():
            raise Invalid.of("/".join((pointer, entity, *action)), "unknown",
                             f"There is no such {kind}. Known are: {', '.join(names)}.")
    refusals.settle()


def refuse_excess(wanted: Iterable[Depths], by: Subject, what: str) -> None:
    """Refuse to hand on rights that the subject does not hold as deep.

    Raises:
        Forbidden: `beyond` lists each `entity.action`.
    """
    beyond = rights.excess(rights.merged(wanted), by.depths)
    if beyond:
        raise Forbidden(f"{what} exceeds what {by.name} may do", beyond=beyond[:50])


def refuse_above(session: Session, user: User, by: Subject) -> None:
    """Refuse to act upon somebody who may do more: whoever resets an administrator's password is one.

    Raises:
        Forbidden: `beyond` lists what the user may do and the subject may not.
    """
    if user.id != by.id:
        refuse_excess([of_user(session, user.id).depths], by, f"What {user.username} may do")


def is_admin(user: User) -> bool:
    """Tell whether a user holds the role admin."""
    return ADMIN_ROLE_ID in user.role_ids


def refuse_last_admin(session: Session) -> None:
    """Refuse a change, made already in this transaction, after which nobody could administer the hub.

    Raises:
        Conflict: no active user holds the role admin any more.
    """
    session.flush()
    if active_holders(session, ADMIN_ROLE_ID) == 0:
        raise Conflict("One active user must keep the role admin")
