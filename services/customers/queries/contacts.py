"""Reading contacts: whoever sees the customer sees its contacts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from chassis.access import visible as within_reach
from chassis.context import Subject
from chassis.masking import require_sight
from chassis.paging import Order, Page, Sealer, keyset_page
from chassis.snapshot import Item
from contracts.errors import NotFound
from contracts.operation import UNMASK, Permission
from services.customers.domain import reach
from services.customers.models import Contact, Customer
from services.customers.queries import customers


def get(session: Session, contact_id: str, subject: Subject) -> Contact:
    """Return a contact of a customer within the subject's reach.

    Raises:
        NotFound: there is none, or its customer is out of reach.
    """
    query = select(Contact).join(Customer).where(Contact.id == contact_id, customers.visible(subject, "read"))
    found = session.scalar(query)
    if found is None:
        raise NotFound("There is no such contact", entity="contact", id=contact_id)
    return found


def listed(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of contacts, in order of creation.

    Raises:
        InvalidCursor: the cursor is not one of this list.
        Forbidden: a search by email, which is masked for the subject.
        Invalid: an email to search for cannot be one.
    """
    query = select(Contact)
    if subject.depth("customer", "read") != "all":
        # Not a join: from the few customers in reach to their contacts, never from every contact to its customer.
        query = query.where(Contact.customer_id.in_(select(Customer.id).where(customers.visible(subject, "read"))))
    if asked.get("customer_id"):
        query = query.where(Contact.customer_id == asked["customer_id"])
    if asked.get("email"):
        require_sight(subject, "contact")
        if subject.depth("contact", UNMASK) != "all":
            query = query.where(Contact.customer_id.in_(select(Customer.id).where(_unmasked(subject))))
        query = query.where(Contact.email.equals(session, reach.email(asked["email"])))
    return keyset_page(session, query, Order(Contact.id, Contact.id), asked, subject, sealer, name="contacts")


def of_customer(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the contacts of a customer.

    Raises:
        NotFound: there is no such customer, or it is out of reach.
        InvalidCursor, Invalid: as for all contacts.
    """
    customer = customers.get(session, asked["id"], subject)
    return listed(session, {**asked, "customer_id": customer.id}, subject, sealer)


def unmasked(session: Session, ids: Collection[str], subject: Subject) -> Collection[str]:
    """Return those of some contacts whose phone and email the subject may see: by the owner of their customer."""
    return session.scalars(select(Contact.id).join(Customer).where(Contact.id.in_(ids), _unmasked(subject))).all()


def _unmasked(subject: Subject) -> ColumnElement[bool]:
    return within_reach(subject, Permission("contact", UNMASK), owner=Customer.owner_id, team=Customer.team_id)


def snapshot(session: Session, after_id: str, limit: int) -> Sequence[Item]:
    """Return contacts in order of id, for a snapshot."""
    rows = session.scalars(select(Contact).where(Contact.id > after_id).order_by(Contact.id).limit(limit))
    return [Item(row.id, row.version, row) for row in rows]
