"""Use cases on tickets."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.database import utcnow
from contracts import tickets as contract
from services.tickets.domain import tickets as domain
from services.tickets.models import Message, Ticket
from services.tickets.operations import assignment, changes
from services.tickets.queries import customer_refs


def create(session: Session, asked: dict[str, Any], by: Subject) -> Ticket:
    """Open a ticket, announce it, and have its queue give it to somebody.

    Raises:
        Invalid: there is no such queue, or it takes no tickets.
        CustomerNotKnown: tickets has not heard of the customer within the subject's reach.
    """
    queue_id, customer_id = asked.get("queue_id"), asked.get("customer_id")
    queue = assignment.lock(session, (queue_id,)).get(queue_id) if queue_id else None
    if queue_id:
        assignment.check_takes(session, queue, by)
    customer = customer_refs.readable(session, customer_id, by) if customer_id else None
    given = {name: value for name, value in asked.items() if name != "body"}
    teams = (queue and queue.team_id, by.teams[0] if by.teams else None, customer and customer.team_id)
    ticket = Ticket(**given, created_by=by.id, team_id=next(filter(None, teams), None))
    session.add(ticket)
    session.flush()
    if asked.get("body"):
        session.add(Message(ticket_id=ticket.id, direction=domain.INBOUND, internal=False, body=asked["body"],
                            author_id=by.id))
    changes.announce(session, contract.TICKET_CREATED, ticket, [], by)
    if queue is not None:
        assignment.hand_out(session, queue, by)
    return ticket


def change(session: Session, asked: dict[str, Any], by: Subject) -> Ticket:
    """Change what a ticket says, and announce it; a change of nothing announces nothing.

    Raises:
        NotFound: there is no such ticket within reach.
        StaleVersion: it has changed since the caller read it.
        InvalidTransition: it is closed.
        CustomerNotKnown: tickets has not heard of the customer within the subject's reach.
    """
    ticket = changes.for_write(session, asked["id"], by, "change", asked["expected_version"])
    domain.require_not_closed(ticket.standing)
    customer_id = asked["changes"].get("customer_id")
    if customer_id not in (None, ticket.customer_id):
        customer_refs.readable(session, customer_id, by)
    changes.settle(session, ticket, asked["changes"], by)
    return ticket


def set_status(session: Session, asked: dict[str, Any], by: Subject) -> Ticket:
    """Move a ticket to another state, announce it, and let its queue give out what waits for the room it leaves.

    Raises:
        NotFound: there is no such ticket within reach.
        StaleVersion: it has changed since the caller read it.
        InvalidTransition: the step does not lead on from its state.
        Invalid: the resolution is missing, or belongs to no such step.
    """
    ticket = changes.for_write(session, asked["id"], by, "change", asked["expected_version"])
    fields = domain.move(ticket.standing, asked["status"], asked.get("resolution"), utcnow())
    changes.settle(session, ticket, fields, by)
    if ticket.status in (domain.RESOLVED, domain.OPEN):
        assignment.give_out(session, ticket.queue_id, by)
    return ticket
