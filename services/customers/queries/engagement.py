"""What tasks and activities have in common: who sees them, and whose customer they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, false, or_, select, true
from sqlalchemy.orm import Session

from chassis.access import Among, Column
from chassis.access import visible as within_reach
from chassis.context import Subject
from contracts.errors import Invalid
from contracts.operation import Permission
from services.customers.models import Customer
from services.customers.queries import contacts, customers


def visible(subject: Subject, permission: Permission, *, people: Sequence[Column], team: Column,
            customer: Column) -> ColumnElement[bool]:
    """Return the condition that a row is the subject's own, a team's within reach, or of a customer within reach.

    Args:
        subject: who asks.
        permission: for what; without it nothing is seen, whatever may be done to customers.
        people: the columns with the users whose row it is.
        team: the column with its team.
        customer: the column with its customer. To read the row it takes the right to read that customer; to do
            anything else to it, the right to change that customer.
    """
    depth = subject.depth(permission.entity, permission.action)
    if depth in ("all", "none"):
        return true() if depth == "all" else false()
    own = [within_reach(subject, permission, owner=person, team=team) for person in people]
    needed = "read" if permission.action == "read" else "change"
    if subject.depth("customer", needed) == "all":
        return or_(*own, customer.is_not(None))
    return or_(*own, Among(customer, select(Customer.id).where(customers.visible(subject, needed))))


def customer_of(session: Session, about: Mapping[str, str] | None, customer_id: str | None, by: Subject) -> str | None:
    """Return the customer that a new task or activity belongs to: its subject's, or the one that is named.

    Raises:
        NotFound: there is no such customer or contact within reach.
        Invalid: the customer that is named is another one than the subject's.
    """
    if about is not None and about["entity"] in ("customer", "contact"):
        if about["entity"] == "customer":
            theirs = customers.get(session, about["id"], by).id
        else:
            theirs = contacts.get(session, about["id"], by).customer_id
        if customer_id not in (None, theirs):
            raise Invalid.of("/customer_id", "mismatch", "Is not the customer that the subject belongs to.")
        return theirs
    return customers.get(session, customer_id, by).id if customer_id else None
