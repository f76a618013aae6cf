"""Roles. They have no owner: who may read roles at the depth `all` reads them all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chassis.access import visible
from chassis.context import Subject
from chassis.paging import Page
from contracts import identity as contract
from contracts.schema import Codec
from services.identity.models import Role
from services.identity.queries import rows


def get(session: Session, id: str, subject: Subject) -> Role:
    """Return a role.

    Raises:
        NotFound: no such role, or the subject may not see roles.
    """
    return rows.one(session, Role, id, visible(subject, contract.ROLE_READ))


def listed(session: Session, request: dict[str, Any], subject: Subject, codec: Codec) -> Page:
    """Return a page of roles."""
    query = select(Role).where(visible(subject, contract.ROLE_READ))
    if "name" in request:
        query = query.where(Role.name == request["name"])
    return rows.page(session, query, Role, request, subject, codec)
