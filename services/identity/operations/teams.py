"""Growing and moving the tree of teams. The closure table holds every pair of a team and one at or below it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, exists, insert, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from chassis.access import covers
from chassis.audit import trail
from chassis.context import Subject
from chassis.database import new_id
from contracts import identity as contract
from contracts.errors import AlreadyExists, Conflict, Forbidden, Invalid
from contracts.operation import Permission
from services.identity.models import Team, TeamMember, TeamPath
from services.identity.operations import access
from services.identity.queries import reach, rows
from services.identity.queries.teams import subtree


def create(session: Session, request: dict[str, Any], by: Subject) -> Team:
    """Add a team.

    Raises:
        AlreadyExists: its parent has a team of this name.
        Forbidden: the parent, or the top of the tree, is out of reach.
        Invalid: there is no such parent.
    """
    access.changed(session, reason="team", user_id=None, by=by)
    _refuse_parent(session, request["parent_id"], by, contract.TEAM_CREATE, "/parent_id")
    team = Team(id=new_id(), **request)
    session.add(team)
    _flush(session)
    session.add(TeamPath(ancestor_id=team.id, descendant_id=team.id, distance=0))
    session.flush()
    _hang(session, team.id, team.parent_id)
    return team


def change(session: Session, id: str, changes: dict[str, Any], by: Subject, expected_version: int) -> Team:
    """Rename or move a team; what is below it moves along.

    Raises:
        NotFound: no such team within reach.
        StaleVersion: the team is no longer at `expected_version`.
        AlreadyExists: the parent has another team of this name.
        Forbidden: the new parent is out of reach.
        Invalid: there is no such parent, or it is below the team.
    """
    access.changed(session, reason="team", user_id=None, by=by)
    team = rows.locked(session, Team, id, reach.over_teams(by, contract.TEAM_CHANGE), expected_version)
    moves = "parent_id" in changes and changes["parent_id"] != team.parent_id
    if moves:
        _refuse_parent(session, changes["parent_id"], by, contract.TEAM_CHANGE, "/changes/parent_id")
        if changes["parent_id"] in subtree(session, team.id):
            raise Invalid.of("/changes/parent_id", "cycle", "A team cannot be below itself.")
    trail.before(session, **{name: getattr(team, name) for name in changes})
    for name, value in changes.items():
        setattr(team, name, value)
    team.version += 1
    _flush(session)
    if moves:
        _unhang(session, team.id)
        _hang(session, team.id, team.parent_id)
    return team


def remove(session: Session, id: str, by: Subject, expected_version: int) -> None:
    """Delete an empty team.

    Raises:
        NotFound: no such team within reach.
        StaleVersion: the team is no longer at `expected_version`.
        Conflict: it has members, or teams below it.
    """
    access.changed(session, reason="team", user_id=None, by=by)
    team = rows.locked(session, Team, id, reach.over_teams(by, contract.TEAM_DELETE), expected_version)
    if session.scalar(select(exists().where(TeamMember.team_id == id))):
        raise Conflict("The team has members; move them first")
    if session.scalar(select(exists().where(Team.parent_id == id))):
        raise Conflict("The team has teams below it; move them first")
    session.execute(delete(TeamPath).where(TeamPath.descendant_id == id))
    session.delete(team)
    session.flush()


def _refuse_parent(session: Session, parent_id: str | None, by: Subject, permission: Permission, pointer: str) -> None:
    if not covers(by, permission, team=parent_id):
        raise Forbidden("That place in the tree is out of your reach")
    if parent_id is not None and session.get(Team, parent_id) is None:
        raise Invalid.of(pointer, "unknown", "There is no such team.")


def _hang(session: Session, team_id: str, parent_id: str | None) -> None:
    """Add a path from everything at or above `parent_id` to everything at or below `team_id`."""
    above, below = aliased(TeamPath), aliased(TeamPath)
    pairs = (
        select(above.ancestor_id, below.descendant_id, above.distance + below.distance + literal(1))
        .join_from(above, below, below.ancestor_id == team_id)
        .where(above.descendant_id == parent_id)
    )
    session.execute(insert(TeamPath).from_select(["ancestor_id", "descendant_id", "distance"], pairs))


def _unhang(session: Session, team_id: str) -> None:
    """Remove every path that leads from outside into the tree below `team_id`."""
    inside = select(TeamPath.descendant_id).where(TeamPath.ancestor_id == team_id)
    from_outside = delete(TeamPath).where(TeamPath.descendant_id.in_(inside), TeamPath.ancestor_id.not_in(inside))
    session.execute(from_outside.execution_options(synchronize_session=False))


def _flush(session: Session) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        raise AlreadyExists("The parent has a team of this name", field="name") from error
