"""The one predicate: which rows a subject may see or change, and whether one record is among them.

Each noun builds its `queries.<noun>.visible(subject, action)` on `visible`, and every door (get, list, search, count,
export, webhook) goes through that. `covers` is the same rule for a record in the hand: one that is about to be created,
or that an event carries. A right that is not granted is `none`, and `none` sees nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ColumnElement, Select, false, or_, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

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


class Among(FunctionElement[bool]):
    """The condition that a column holds one of some ids: `Among(Note.subject_id, select(...))`, for use in an OR.

    PostgreSQL cannot use an index for `IN (SELECT ...)` inside an OR: to find that somebody has no rows it read all
    40,000 (20 ms). With an array it combines two indexes (1 ms, however many rows others have), as SQLite does.
    """

    name = "among"
    type = Boolean()
    inherit_cache = True

    def __init__(self, column: Any, ids: Any) -> None:
        super().__init__(column, ids.scalar_subquery())

    def self_group(self, against: Any = None) -> Any:
        """Stay as it is in an OR: for SQLite, a Boolean function would become `... = 1`, which no index answers."""
        return self


@compiles(Among)
def _in_select(element: Among, compiler: Any, **kwargs: Any) -> str:
    column, ids = (compiler.process(part, **kwargs) for part in element.clauses)
    return f"{column} IN {ids}"


@compiles(Among, "postgresql")
def _in_array(element: Among, compiler: Any, **kwargs: Any) -> str:
    column, ids = (compiler.process(part, **kwargs) for part in element.clauses)
    return f"{column} = ANY (ARRAY{ids})"
