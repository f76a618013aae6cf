"""The one predicate: which rows a subject may see or change, and whether one record is among them.

Each noun builds its `queries.<noun>.visible(subject, action)` on `visible`, and every door (get, list, search, count,
export, webhook) goes through that. `covers` is the same rule for a record in the hand: one that is about to be created,
or that an event carries. A right that is not granted is `none`, and `none` sees nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, false, or_, true

from chassis.context import Subject
from contracts.errors import Forbidden
from contracts.operation import Permission

Column = Any
"""A mapped attribute (`Customer.owner_id`): SQLAlchemy types it by descriptor, so it cannot be named more closely."""


def require(subject: Subject, permission: Permission | None) -> None:
    """Refuse a subject that does not hold `permission` at any depth; None admits everybody.

    Raises:
        Forbidden: the depth is `none`.
    """
    if permission is not None and subject.depth(permission.entity, permission.action) == "none":
        raise Forbidden(
            f"{subject.name} may not {permission.action} records of the kind {permission.entity}",
            entity=permission.entity,
            action=permission.action,
        )


def visible(
    subject: Subject,
    permission: Permission,
    *,
    owner: Column | None = None,
    team: Column | None = None,
    members: Select[Any] | None = None,
) -> ColumnElement[bool]:
    """Return the condition that a row is within the subject's reach for `permission`.

    Args:
        subject: who asks.
        permission: for what.
        owner: the column with the owner's user id; None if the noun has no owner.
        team: the column with the team's id; None if the noun belongs to no team.
        members: a select of shares correlated with the row (`select(Member.id).where(Member.customer_id == Customer.id,
            Member.user_id == subject.id)`); a share widens any depth but `none`.

    A row without owner and team is within reach of `all` alone.
    """
    depth = subject.depth(permission.entity, permission.action)
    if depth == "all":
        return true()
    if depth == "none":
        return false()
    reach: list[ColumnElement[bool]] = []
    if owner is not None:
        reach.append(owner == subject.id)
    teams = _teams(subject, depth)
    if team is not None and teams:
        reach.append(team.in_(teams))
    if members is not None:
        reach.append(members.exists())
    return or_(*reach) if reach else false()


def covers(
    subject: Subject,
    permission: Permission,
    *,
    owner: str | None = None,
    team: str | None = None,
    member: bool = False,
) -> bool:
    """Tell whether a record with this owner and team is within reach: the same answer as `visible` for its row."""
    depth = subject.depth(permission.entity, permission.action)
    if depth in ("all", "none"):
        return depth == "all"
    owns = owner is not None and owner == subject.id
    return member or owns or (team is not None and team in _teams(subject, depth))


def _teams(subject: Subject, depth: str) -> tuple[str, ...]:
    return {"team": subject.teams, "tree": subject.tree}.get(depth, ())
