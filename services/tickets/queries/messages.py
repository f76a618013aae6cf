"""Reading messages; whoever may read a ticket may read what was said on it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.paging import Order, Page, Sealer, keyset_page
from contracts.errors import NotFound
from services.tickets.models import Message, Ticket
from services.tickets.queries import tickets


def get(session: Session, message_id: str, subject: Subject) -> Message:
    """Return a message of a ticket within the subject's reach.

    Raises:
        NotFound: there is none, or its ticket is out of reach.
    """
    found = session.scalar(select(Message).join(Ticket, Ticket.id == Message.ticket_id)
                           .where(Message.id == message_id, tickets.visible(subject, "read")))
    if found is None:
        raise NotFound("There is no such message", entity="message", id=message_id)
    return found


def of_ticket(session: Session, ticket_id: str, message_id: str, subject: Subject) -> Message:
    """Return a message of this ticket.

    Raises:
        NotFound: there is none, it is of another ticket, or the ticket is out of reach.
    """
    ticket = tickets.get(session, ticket_id, subject)
    found = get(session, message_id, subject)
    if found.ticket_id != ticket.id:
        raise NotFound("There is no such message", entity="message", id=message_id)
    return found


def listed(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the messages of a ticket, oldest first.

    Raises:
        NotFound: there is no such ticket, or it is out of reach.
        InvalidCursor: the cursor is not one of this list.
    """
    ticket = tickets.get(session, asked["id"], subject)
    query = select(Message).where(Message.ticket_id == ticket.id)
    if "internal" in asked:
        query = query.where(Message.internal == asked["internal"])
    return keyset_page(session, query, Order(Message.created_at, Message.id), asked, subject, sealer, name="messages")
