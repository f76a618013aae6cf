"""Reading connections."""

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
from services.integrations.models import Connection
from services.integrations.queries.statements import locking


def visible(subject: Subject, action: str) -> sa.ColumnElement[bool]:
    """The one predicate: which connections `subject` may do `action` to. They belong to nobody: all or none."""
    return within_reach(subject, Permission("connection", action))


def get(session: Session, connection_id: str, subject: Subject, action: str = "read") -> Connection:
    """Return a connection within the subject's reach.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    found = session.scalar(sa.select(Connection).where(Connection.id == connection_id, visible(subject, action)))
    return _or_not_found(found, connection_id)


def for_write(session: Session, connection_id: str, subject: Subject, action: str) -> Connection:
    """Return a connection, locked, within the subject's reach for `action`.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    query = sa.select(Connection).where(Connection.id == connection_id, visible(subject, action))
    return _or_not_found(session.scalar(locking(query, key_share=True)), connection_id)


def listed(session: Session, asked: Mapping[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the connections within the subject's reach, newest first.

    Raises:
        InvalidCursor: the cursor is not one of this list.
    """
    query = sa.select(Connection).where(visible(subject, "read"))
    query = narrowed(query, Connection, asked, "adapter", "desired_state")
    order = Order(Connection.created_at, Connection.id, descending=True)
    return keyset_page(session, query, order, asked, subject, sealer, name="connections")


def _or_not_found(found: Connection | None, connection_id: str) -> Connection:
    if found is None:
        raise NotFound("There is no such connection", entity="connection", id=connection_id)
    return found
