"""Reading the small copy of customers."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from chassis.access import visible as within_reach
from chassis.context import Subject
from contracts.operation import Permission
from services.sales.models import CustomerRef


def visible(subject: Subject, action: str) -> ColumnElement[bool]:
    """The one predicate: the customers on whose orders `subject` may do `action`, because of who owns the customer."""
    return within_reach(subject, Permission("order", action), owner=CustomerRef.owner_id, team=CustomerRef.team_id)


def find(session: Session, customer_id: str, subject: Subject, action: str) -> CustomerRef | None:
    """Return the customer if sales has heard of it and it is within the subject's reach."""
    return session.scalar(select(CustomerRef).where(CustomerRef.id == customer_id, visible(subject, action)))
