"""Reading tickets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from chassis.access import Among
from chassis.access import visible as within_reach
from chassis.context import Subject
from chassis.paging import Order, Page, Sealer, keyset_page, narrowed
from chassis.snapshot import Item
from contracts.errors import NotFound
from contracts.operation import Permission
from contracts.tickets import TICKET_STATES, UNRESOLVED_STATES
from services.tickets.models import CustomerRef, FieldChange, Ticket
from services.tickets.queries import customer_refs, queues

_FILTERS = ("status", "queue_id", "assignee_id", "customer_id", "type", "priority")
_SORTS = {"created_at": Ticket.created_at, "updated_at": Ticket.updated_at}


def visible(subject: Subject, action: str) -> ColumnElement[bool]:
    """The one predicate: the tickets to which `subject` may do `action`.

    A ticket is within reach of its assignee and its creator, of whoever answers its queue, of its team by depth, and
    of those within whose reach its customer is.
    """
    permission = Permission("ticket", action)
    own = within_reach(subject, permission, owner=Ticket.assignee_id, team=Ticket.team_id)
    if subject.depth("ticket", action) in ("all", "none"):
        return own
    theirs = select(CustomerRef.id).where(customer_refs.visible(subject, action))
    return or_(own, Ticket.created_by == subject.id, Among(Ticket.queue_id, queues.of_member(subject.id)),
               Among(Ticket.customer_id, theirs))


def get(session: Session, ticket_id: str, subject: Subject) -> Ticket:
    """Return a ticket within the subject's reach.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    found = session.scalar(select(Ticket).where(Ticket.id == ticket_id, visible(subject, "read")))
    if found is None:
        raise no_such(ticket_id)
    return found


def no_such(ticket_id: str) -> NotFound:
    """Return the error for a ticket that is not there, or out of reach."""
    return NotFound("There is no such ticket", entity="ticket", id=ticket_id)


def listed(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the tickets within the subject's reach.

    Raises:
        InvalidCursor: the cursor is not one of this list.
    """
    query = _filtered(select(Ticket).where(visible(subject, "read")), asked)
    order = Order.asked(asked["sort"], _SORTS, Ticket.id)
    return keyset_page(session, query, order, asked, subject, sealer, name="tickets")


def counted(session: Session, asked: dict[str, Any], subject: Subject) -> dict[str, int]:
    """Return how many tickets within the subject's reach there are in each state."""
    query = _filtered(select(Ticket.status, func.count()).where(visible(subject, "read")), asked)
    return dict.fromkeys(TICKET_STATES, 0) | {status: n for status, n in session.execute(query.group_by(Ticket.status))}


def trail(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the changes of a ticket, oldest first.

    Raises:
        NotFound: there is no such ticket, or it is out of reach.
        InvalidCursor: the cursor is not one of this list.
    """
    ticket = get(session, asked["id"], subject)
    query = select(FieldChange).where(FieldChange.record_id == ticket.id)
    return keyset_page(session, query, Order(FieldChange.id, FieldChange.id), asked, subject, sealer, name="trail")


def snapshot(session: Session, after_id: str, limit: int) -> Sequence[Item]:
    """Return tickets in order of id, for a snapshot."""
    rows = session.scalars(select(Ticket).where(Ticket.id > after_id).order_by(Ticket.id).limit(limit))
    return [Item(row.id, row.version, row) for row in rows]


def _filtered(query: Any, asked: dict[str, Any]) -> Any:
    """Return a select with a condition for each filter that is asked for."""
    query = narrowed(query, Ticket, asked, *_FILTERS)
    if "unresolved" in asked:
        among = Ticket.status.in_ if asked["unresolved"] else Ticket.status.not_in
        query = query.where(among(UNRESOLVED_STATES))
    if "unassigned" in asked:
        query = query.where(Ticket.assignee_id.is_(None) == asked["unassigned"])
    return query
