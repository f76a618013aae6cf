"""Use cases on contacts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chassis import outbox
from chassis.context import Subject
from chassis.masking import refuse_hidden
from contracts import customers as contract
from contracts.errors import NotFound
from services.customers.domain import reach
from services.customers.models import Contact, Customer
from services.customers.operations import changes as history
from services.customers.operations import consents
from services.customers.operations.customers import for_write as customer_for_write
from services.customers.queries import customers


def create(session: Session, asked: dict[str, Any], by: Subject, region: str) -> Contact:
    """Add a contact to a customer; the first one, or one that asks for it, becomes the primary contact.

    Raises:
        NotFound: there is no such customer within reach.
        Invalid: phone or email cannot be one.
    """
    customer = customer_for_write(session, asked["customer_id"], by)
    values = consents.spoken(reach.normalised(asked, region), {})
    first = session.scalar(select(Contact.id).where(Contact.customer_id == customer.id).limit(1)) is None
    values["primary"] = values.get("primary", False) or first
    if values["primary"] and not first:
        _step_down(session, customer.id, by)
    contact = Contact(**values, created_by=by.id)
    session.add(contact)
    session.flush()
    outbox.record(session, contract.CONTACT_CREATED, subject=contact.id, version=contact.version, data=contact, by=by)
    consents.announce(session, contact, {}, by)
    return contact


def change(session: Session, asked: dict[str, Any], by: Subject, region: str) -> Contact:
    """Change a contact, keep the history of each field, and announce it.

    Raises:
        NotFound: there is no such contact within reach.
        StaleVersion: it has changed since the caller read it.
        Invalid: phone or email cannot be one, or is masked for the subject.
    """
    customer, contact = _for_write(session, asked["id"], by)
    history.check_version(contact, asked["expected_version"])
    refuse_hidden(by, contract.Contact, asked["changes"], owner=customer.owner_id, team=customer.team_id)
    before = contact.consent
    changes = consents.spoken(reach.normalised(asked["changes"], region), before)
    if changes.get("primary") and not contact.primary:
        _step_down(session, contact.customer_id, by)
    if history.apply(session, contact, changes, by):
        outbox.record(session, contract.CONTACT_UPDATED, subject=contact.id, version=contact.version, data=contact,
                      by=by)
        consents.announce(session, contact, before, by)
    return contact


def _for_write(session: Session, contact_id: str, by: Subject) -> tuple[Customer, Contact]:
    """Return the contact and its customer, both locked: of two that would become primary at once, one waits."""
    reach = select(Contact.customer_id).join(Customer).where(
        Contact.id == contact_id, customers.visible(by, "change"))
    customer_id = session.scalar(reach)
    if customer_id is None:
        raise NotFound("There is no such contact", entity="contact", id=contact_id)
    customer = customer_for_write(session, customer_id, by)
    return customer, session.scalars(select(Contact).where(Contact.id == contact_id).with_for_update()).one()


def _step_down(session: Session, customer_id: str, by: Subject) -> None:
    """Take the mark off the present primary contact: a change like any other, with its history and its event."""
    query = select(Contact).where(Contact.customer_id == customer_id, Contact.primary).with_for_update()
    for former in session.scalars(query):
        history.apply(session, former, {"primary": False}, by)
        outbox.record(session, contract.CONTACT_UPDATED, subject=former.id, version=former.version, data=former, by=by)
