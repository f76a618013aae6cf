"""Reading queues."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session

from chassis.access import visible as within_reach
from chassis.context import Subject
from chassis.paging import Order, Page, Sealer, keyset_page
from contracts.errors import NotFound
from contracts.operation import Permission
from services.tickets.domain import queues as domain
from services.tickets.models import Queue, QueueMember, Ticket


def visible(subject: Subject, action: str) -> ColumnElement[bool]:
    """The one predicate: the queues to which `subject` may do `action`. Whoever answers a queue may read it."""
    mine = select(QueueMember.queue_id).where(QueueMember.queue_id == Queue.id, QueueMember.user_id == subject.id)
    return within_reach(subject, Permission("queue", action), team=Queue.team_id,
                        members=mine if action == "read" else None)


def get(session: Session, queue_id: str, subject: Subject) -> Queue:
    """Return a queue within the subject's reach, with its members.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    found = session.scalar(select(Queue).where(Queue.id == queue_id, visible(subject, "read")))
    if found is None:
        raise no_such(queue_id)
    return found


def no_such(queue_id: str) -> NotFound:
    """Return the error for a queue that is not there, or out of reach."""
    return NotFound("There is no such queue", entity="queue", id=queue_id)


def listed(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the queues within the subject's reach, by name.

    Raises:
        InvalidCursor: the cursor is not one of this list.
    """
    query = select(Queue).where(visible(subject, "read"))
    if "active" in asked:
        query = query.where(Queue.active == asked["active"])
    return keyset_page(session, query, Order(Queue.name, Queue.id), asked, subject, sealer, name="queues")


def with_waiting() -> Select[Any]:
    """Return a select of the queues that give out their tickets and have one that waits, by id."""
    waiting = exists().where(Ticket.queue_id == Queue.id, Ticket.assignee_id.is_(None), Ticket.resolved_at.is_(None))
    return select(Queue).where(Queue.active, Queue.strategy != domain.MANUAL, waiting).order_by(Queue.id)


def of_member(user_id: str) -> Select[Any]:
    """Return a select of the ids of the queues that a user answers."""
    return select(QueueMember.queue_id).where(QueueMember.user_id == user_id)


def loads(session: Session, queue_id: str) -> dict[str, int]:
    """Return how many tickets of a queue that are not resolved each user has; who has none is not listed."""
    query = (select(Ticket.assignee_id, func.count()).group_by(Ticket.assignee_id)
             .where(Ticket.queue_id == queue_id, Ticket.assignee_id.is_not(None), Ticket.resolved_at.is_(None)))
    return {str(user): count for user, count in session.execute(query)}
