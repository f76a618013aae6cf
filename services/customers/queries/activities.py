"""Reading activities, and the timeline that they make."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.paging import Order, Page, Sealer, keyset_page, narrowed
from contracts.errors import NotFound
from contracts.operation import Permission
from services.customers.models import Activity
from services.customers.queries import customers, engagement

_FILTERS = ("kind", "user_id", "customer_id", "subject_entity", "subject_id")


def visible(subject: Subject, action: str) -> ColumnElement[bool]:
    """The one predicate: activities are seen by who logged them, by their team, and by whoever sees their customer."""
    return engagement.visible(subject, Permission("activity", action), people=(Activity.user_id,),
                              team=Activity.team_id, customer=Activity.customer_id)


def get(session: Session, activity_id: str, subject: Subject) -> Activity:
    """Return an activity within the subject's reach.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    found = session.scalar(select(Activity).where(Activity.id == activity_id, visible(subject, "read")))
    if found is None:
        raise NotFound("There is no such activity", entity="activity", id=activity_id)
    return found


def listed(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the activities within the subject's reach, newest first.

    Raises:
        InvalidCursor: the cursor is not one of this list.
    """
    return _page(session, select(Activity), asked, subject, sealer, "activities")


def of_customer(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of what people did about a customer, newest first.

    Raises:
        NotFound: there is no such customer, or it is out of reach.
        InvalidCursor: the cursor is not one of this list.
    """
    customer = customers.get(session, asked["id"], subject)
    query = select(Activity).where(Activity.kind != "system")
    return _page(session, query, {**asked, "customer_id": customer.id}, subject, sealer, "of_customer")


def timeline(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of all that happened with a customer, newest first.

    Raises:
        NotFound: there is no such customer, or it is out of reach.
        InvalidCursor: the cursor is not one of this list.
    """
    customer = customers.get(session, asked["id"], subject)
    return _page(session, select(Activity), {**asked, "customer_id": customer.id}, subject, sealer, "timeline")


def _page(session: Session, query: Any, asked: dict[str, Any], subject: Subject, sealer: Sealer, name: str) -> Page:
    query = narrowed(query.where(visible(subject, "read")), Activity, asked, *_FILTERS)
    order = Order(Activity.occurred_at, Activity.id, descending=True)
    return keyset_page(session, query, order, asked, subject, sealer, name=name)
