"""Teams, as far as the subject sees them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.paging import Page
from contracts import identity as contract
from contracts.schema import Codec
from services.identity.models import Team, TeamPath
from services.identity.queries import reach, rows


def get(session: Session, id: str, subject: Subject) -> Team:
    """Return a team.

    Raises:
        NotFound: no such team within reach.
    """
    return rows.one(session, Team, id, reach.over_teams(subject, contract.TEAM_READ))


def listed(session: Session, request: dict[str, Any], subject: Subject, codec: Codec) -> Page:
    """Return a page of teams."""
    query = select(Team).where(reach.over_teams(subject, contract.TEAM_READ))
    if "parent_id" in request:
        query = query.where(Team.parent_id == request["parent_id"])
    return rows.page(session, query, Team, request, subject, codec)


def subtree(session: Session, team_id: str) -> set[str]:
    """Return the ids of a team and all teams below it; empty if there is no such team."""
    return set(session.scalars(select(TeamPath.descendant_id).where(TeamPath.ancestor_id == team_id)))
