"""Reading conflicts."""

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
from services.integrations.models import Conflict
from services.integrations.queries import adapters
from services.integrations.queries.statements import locking


def visible(subject: Subject, action: str) -> sa.ColumnElement[bool]:
    """The one predicate: which conflicts `subject` may do `action` to. They belong to nobody: all or none."""
    return within_reach(subject, Permission("conflict", action))


def get(session: Session, conflict_id: str, subject: Subject, action: str = "read", *,
        locked: bool = False) -> Conflict:
    """Return a conflict within the subject's reach.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    query = sa.select(Conflict).where(Conflict.id == conflict_id, visible(subject, action))
    found = session.scalar(locking(query) if locked else query)
    if found is None:
        raise NotFound("There is no such conflict", entity="conflict", id=conflict_id)
    return found


def listed(session: Session, asked: Mapping[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the conflicts within the subject's reach, newest first.

    Raises:
        InvalidCursor: the cursor is not one of this list.
        Invalid: there is no such entity to filter by.
    """
    adapters.require_entity(asked)
    query = sa.select(Conflict).where(visible(subject, "read"))
    query = narrowed(query, Conflict, asked, "connection_id", "entity", "local_id", "state")
    order = Order(Conflict.opened_at, Conflict.id, descending=True)
    return keyset_page(session, query, order, asked, subject, sealer, name="conflicts")
