"""Use cases on messages."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.database import utcnow
from contracts import tickets as contract
from contracts.schema import attributes
from services.tickets.domain import tickets as domain
from services.tickets.models import Message
from services.tickets.operations import assignment, changes


def add(session: Session, asked: dict[str, Any], by: Subject) -> Message:
    """Keep what was said. A reply raises the ticket's version, so that nobody resolves what they have not read.

    A note of the team's own changes nothing about the ticket and is not announced.

    Raises:
        NotFound: there is no such ticket within reach.
        InvalidTransition: it is a reply, and the ticket is closed.
    """
    ticket = changes.for_write(session, asked["id"], by, "reply", None)
    fields = {} if asked["internal"] else domain.replied(ticket.standing, asked["direction"])
    message = Message(ticket_id=ticket.id, author_id=by.id,
                      **{name: asked[name] for name in ("direction", "internal", "body")})
    session.add(message)
    session.flush()
    if asked["internal"]:
        return message
    before = ticket.status
    changed = changes.apply(session, ticket, fields, by)
    if not changed:
        ticket.version += 1
        ticket.updated_at = utcnow()
        session.flush()
    changes.announce(session, contract.TICKET_REPLIED, ticket, changed, by,
                     message=attributes(contract.Message, message))
    if before == domain.RESOLVED and changed:
        changes.announce(session, contract.TICKET_REOPENED, ticket, changed, by)
        assignment.give_out(session, ticket.queue_id, by)
    return message
