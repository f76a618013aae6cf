"""Reading mappings, code tables, and the records that a mapping is tried on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.access import visible as within_reach
from chassis.context import Subject
from chassis.paging import Order, Page, Sealer, keyset_page
from contracts.errors import NotFound
from contracts.operation import Permission
from services.integrations.models import CodeTable, Connection, MappingVersion, Record, Route
from services.integrations.queries.statements import locking


def visible(subject: Subject, action: str) -> sa.ColumnElement[bool]:
    """The one predicate: which mappings and code tables `subject` may do `action` to. They belong to nobody."""
    return within_reach(subject, Permission("mapping", action))


def get(session: Session, route_id: str, number: int, subject: Subject, action: str = "read") -> MappingVersion:
    """Return one version of a route's mapping.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    found = session.scalar(sa.select(MappingVersion).where(
        MappingVersion.route_id == route_id, MappingVersion.number == number, visible(subject, action)))
    if found is None:
        raise NotFound("There is no such mapping", entity="mapping", id=f"{route_id}/{number}")
    return found


def version(session: Session, route_id: str, number: int | None) -> MappingVersion | None:
    """Return one version of a route's mapping, for whoever was let in to the route; None where there is none."""
    return session.scalar(sa.select(MappingVersion).where(
        MappingVersion.route_id == route_id, MappingVersion.number == number))


def listed(session: Session, asked: Mapping[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the versions of a route's mapping, newest first.

    Raises:
        InvalidCursor: the cursor is not one of this list.
    """
    query = sa.select(MappingVersion).where(MappingVersion.route_id == asked["id"], visible(subject, "read"))
    order = Order(MappingVersion.created_at, MappingVersion.id, descending=True)
    return keyset_page(session, query, order, asked, subject, sealer, name="mappings")


def route_of(session: Session, route_id: str, subject: Subject, action: str, *, locked: bool = False) -> Route:
    """Return the route whose mapping `subject` does `action` to.

    Raises:
        NotFound: there is none, or its mapping is out of reach.
    """
    query = sa.select(Route).where(Route.id == route_id, visible(subject, action))
    found = session.scalar(locking(query) if locked else query)
    if found is None:
        raise NotFound("There is no such route", entity="route", id=route_id)
    return found


def connection_of(session: Session, connection_id: str, subject: Subject, action: str, *,
                  locked: bool = False) -> Connection:
    """Return the connection whose code tables `subject` does `action` to.

    Raises:
        NotFound: there is none, or its code tables are out of reach.
    """
    query = sa.select(Connection).where(Connection.id == connection_id, visible(subject, action))
    found = session.scalar(locking(query, key_share=True) if locked else query)
    if found is None:
        raise NotFound("There is no such connection", entity="connection", id=connection_id)
    return found


def tables(session: Session, connection_id: str, subject: Subject) -> dict[str, Mapping[str, Any]]:
    """Return the code tables of a connection that were put, by name."""
    query = sa.select(CodeTable).where(CodeTable.connection_id == connection_id, visible(subject, "read"))
    rows = session.scalars(query)
    return {row.name: row.codes for row in rows}


def newest(session: Session, entity: str, limit: int, *, before: str | None = None) -> Sequence[Any]:
    """Return the records of an entity that were made last, newest first, those before an id.

    Ids sort by the time at which they were made.
    """
    query = sa.select(Record.entity, Record.id, Record.version, Record.state_sealed).where(
        Record.entity == entity, Record.deleted.is_(False))
    if before is not None:
        query = query.where(Record.id < before)
    return session.execute(query.order_by(Record.id.desc()).limit(limit)).all()


def named(session: Session, entity: str, ids: Sequence[str]) -> Sequence[Any]:
    """Return these records of an entity, as far as there are any, in order of id."""
    query = sa.select(Record.entity, Record.id, Record.version, Record.state_sealed).where(
        Record.entity == entity, Record.id.in_(ids))
    return session.execute(query.order_by(Record.id)).all()
