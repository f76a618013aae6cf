"""Reading the small copy of customers."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from chassis.access import visible as within_reach
from chassis.context import Subject
from contracts.customers import READ
from contracts.errors import CustomerNotKnown
from contracts.operation import Permission
from services.tickets.models import CustomerRef


def visible(subject: Subject, action: str) -> ColumnElement[bool]:
    """The one predicate: the customers on whose tickets `subject` may do `action`, because of who owns the customer."""
    return within_reach(subject, Permission("ticket", action), owner=CustomerRef.owner_id, team=CustomerRef.team_id)


def readable(session: Session, customer_id: str, subject: Subject) -> CustomerRef:
    """Return a customer whom the subject may look up. That suffices to open a ticket for them: a desk answers
    customers that belong to others.

    Raises:
        CustomerNotKnown: tickets has not heard of such a customer within the subject's reach.
    """
    reach = within_reach(subject, READ, owner=CustomerRef.owner_id, team=CustomerRef.team_id)
    found = session.scalar(select(CustomerRef).where(CustomerRef.id == customer_id, reach))
    if found is None:
        raise CustomerNotKnown.of(customer_id)
    return found
