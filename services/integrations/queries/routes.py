"""Reading routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.access import visible as within_reach
from chassis.context import Subject
from chassis.paging import Order, Page, Sealer, keyset_page, narrowed
from contracts.errors import NotFound
from contracts.operation import Permission
from services.integrations.models import Route
from services.integrations.queries import adapters
from services.integrations.queries.statements import locking


def visible(subject: Subject, action: str) -> sa.ColumnElement[bool]:
    """The one predicate: which routes `subject` may do `action` to. They belong to nobody: all or none."""
    return within_reach(subject, Permission("route", action))


def get(session: Session, route_id: str, subject: Subject, action: str = "read", *, locked: bool = False) -> Route:
    """Return a route within the subject's reach.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    query = sa.select(Route).where(Route.id == route_id, visible(subject, action))
    found = session.scalar(locking(query) if locked else query)
    if found is None:
        raise NotFound("There is no such route", entity="route", id=route_id)
    return found


def active(session: Session, connection_id: str) -> list[Route]:
    """Return the active routes of a connection, for whoever was let in to it."""
    query = sa.select(Route).where(Route.connection_id == connection_id, Route.state == "active")
    return list(session.scalars(query.order_by(Route.id)))


def listed(session: Session, asked: Mapping[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the routes within the subject's reach, newest first.

    Raises:
        InvalidCursor: the cursor is not one of this list.
        Invalid: there is no such entity to filter by.
    """
    adapters.require_entity(asked)
    query = sa.select(Route).where(visible(subject, "read"))
    query = narrowed(query, Route, asked, "connection_id", "entity", "state")
    order = Order(Route.created_at, Route.id, descending=True)
    return keyset_page(session, query, order, asked, subject, sealer, name="routes")
