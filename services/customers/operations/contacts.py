"""Use cases on contacts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from chassis import outbox
from chassis.context import Subject
from chassis.database import utcnow
from contracts import customers as contract
from contracts.errors import NotFound
from services.customers.domain import reach
from services.customers.models import Contact, Customer
from services.customers.operations import changes as history
from services.customers.operations.customers import for_write as customer_for_write
from services.customers.queries import customers


def create(session: Session, asked: dict[str, Any], by: Subject, region: str) -> Contact:
    """Add a contact to a customer; the first one, or one that asks for it, becomes the primary contact.

    Raises:
        NotFound: there is no such customer within reach.
        Invalid: phone or email cannot be one.
    """
    customer = customer_for_write(session, asked["customer_id"], by)
    values = _normalised(asked, region)
    first = session.scalar(select(Contact.id).where(Contact.customer_id == customer.id).limit(1)) is None
    values["primary"] = values.get("primary", False) or first
    if values["primary"] and not first:
        _step_down(session, customer.id)
    contact = Contact(**values, created_by=by.id)
    session.add(contact)
    session.flush()
    outbox.record(session, contract.CONTACT_CREATED, subject=contact.id, version=contact.version, data=contact, by=by)
    return contact


def change(session: Session, asked: dict[str, Any], by: Subject, region: str) -> Contact:
    """Change a contact, keep the history of each field, and announce it.

    Raises:
        NotFound: there is no such contact within reach.
        StaleVersion: it has changed since the caller read it.
        Invalid: phone or email cannot be one.
    """
    query = select(Contact).join(Customer).where(Contact.id == asked["id"], customers.visible(by, "change"))
    contact = session.scalar(query.with_for_update(of=Contact))
    if contact is None:
        raise NotFound("There is no such contact", entity="contact", id=asked["id"])
    history.check_version(contact, asked["expected_version"])
    changes = _normalised(asked["changes"], region)
    if changes.get("primary") and not contact.primary:
        _step_down(session, contact.customer_id)
    if history.apply(session, contact, changes, by):
        outbox.record(session, contract.CONTACT_UPDATED, subject=contact.id, version=contact.version, data=contact,
                      by=by)
    return contact


def _step_down(session: Session, customer_id: str) -> None:
    """Take the mark off the present primary contact."""
    session.execute(update(Contact).where(Contact.customer_id == customer_id, Contact.primary)
                    .values(primary=False, version=Contact.version + 1, updated_at=utcnow()))


def _normalised(asked: dict[str, Any], region: str) -> dict[str, Any]:
    values = dict(asked)
    if values.get("phone"):
        values["phone"] = reach.phone(values["phone"], region)
    if values.get("email"):
        values["email"] = reach.email(values["email"])
    return values
