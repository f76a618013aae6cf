"""Whose a ticket is: given out by its queue, claimed, or assigned by hand.

A queue's row is the lock: whoever gives out or claims one of its tickets holds it, so no member is given more than the
queue allows and no ticket is given twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chassis.access import covers
from chassis.context import Subject
from contracts import tickets as contract
from contracts.errors import Conflict, Invalid
from services.tickets.domain import queues as domain
from services.tickets.domain import tickets as rules
from services.tickets.models import Queue, Ticket
from services.tickets.operations import changes
from services.tickets.queries import queues

AT_ONCE = 100
"""Most tickets that are given out in one transaction; what is left goes with the next change, or by `upkeep`."""


def assign(session: Session, asked: dict[str, Any], by: Subject) -> Ticket:
    """Give a ticket to a queue, a person or both. Without a person, its queue gives it out by its strategy.

    Raises:
        NotFound: there is no such ticket within reach.
        StaleVersion: it has changed since the caller read it.
        InvalidTransition: it is closed.
        Invalid: the queue takes no tickets, or the person does not answer it, or is out of reach.
    """
    ticket = changes.for_write(session, asked["id"], by, "assign", asked["expected_version"])
    rules.require_not_closed(ticket.standing)
    former, wanted = ticket.queue_id, asked.get("queue_id", ticket.queue_id)
    locked = lock(session, (former, wanted))
    queue = locked.get(wanted) if wanted else None
    fields: dict[str, Any] = {name: asked[name] for name in ("assignee_id",) if name in asked}
    if wanted != former:
        if wanted is not None:
            check_takes(session, queue, by)
        fields = {"queue_id": wanted, "team_id": queue.team_id if queue and queue.team_id else ticket.team_id,
                  "assignee_id": None} | fields
    if fields.get("assignee_id") not in (None, ticket.assignee_id) or (wanted != former and fields["assignee_id"]):
        _check_assignee(by, fields["assignee_id"], queue, fields.get("team_id", ticket.team_id))
    changes.settle(session, ticket, fields, by)
    for one in locked.values():
        hand_out(session, one, by)
    return ticket


def claim(session: Session, asked: dict[str, Any], by: Subject) -> Ticket:
    """Take a ticket that nobody has. Of many who try at once, one gets it; whoever has it already keeps it.

    Raises:
        NotFound: there is no such ticket within reach.
        StaleVersion: it has changed since the caller read it.
        InvalidTransition: it is resolved or closed.
        Conflict: it is somebody else's, or the caller has as many as the queue allows.
    """
    ticket = changes.for_write(session, asked["id"], by, "claim", asked["expected_version"])
    if ticket.assignee_id == by.id:
        return ticket
    if ticket.assignee_id is not None:
        raise Conflict("The ticket is somebody's already", assignee_id=ticket.assignee_id)
    fields = {"assignee_id": by.id} | rules.claimed(ticket.standing)
    for queue in lock(session, (ticket.queue_id,)).values():
        if not domain.has_room(queues.loads(session, queue.id).get(by.id, 0), queue.max_open):
            raise Conflict(f"You have {queue.max_open} open tickets of this queue, the most it allows",
                           max_open=queue.max_open)
    changes.settle(session, ticket, fields, by)
    return ticket


def give_out(session: Session, queue_id: str | None, by: Subject) -> None:
    """Give out what waits in a queue, after somebody got room or a ticket came in; None is no queue."""
    for queue in lock(session, (queue_id,)).values():
        hand_out(session, queue, by)


def lock(session: Session, queue_ids: Iterable[str | None]) -> dict[str, Queue]:
    """Return the queues by id, locked in order of their ids; what is None or not there is left out."""
    ids = sorted({id for id in queue_ids if id is not None})
    if not ids:
        return {}
    query = (select(Queue).where(Queue.id.in_(ids)).order_by(Queue.id).with_for_update(of=Queue, key_share=True)
             .execution_options(populate_existing=True))
    return {queue.id: queue for queue in session.scalars(query)}


def hand_out(session: Session, queue: Queue, by: Subject) -> None:
    """Give the waiting tickets of a locked queue to its members, the oldest first, as long as anybody has room.

    A ticket that somebody else holds at this moment is passed over: they may be taking it. If not, `upkeep` finds it.
    """
    if not queue.active or queue.strategy == domain.MANUAL or not queue.memberships:
        return
    waiting = session.scalars(
        select(Ticket).where(Ticket.queue_id == queue.id, Ticket.assignee_id.is_(None), Ticket.resolved_at.is_(None))
        .order_by(Ticket.created_at, Ticket.id).limit(AT_ONCE).with_for_update(skip_locked=True)).all()
    held = queues.loads(session, queue.id) if waiting else {}
    for ticket in waiting:
        members = [domain.Member(one.user_id, one.place, held.get(one.user_id, 0)) for one in queue.memberships]
        chosen = domain.choose(queue.strategy, members, queue.max_open, queue.last_place)
        if chosen is None:
            break
        queue.last_place = chosen.place
        held[chosen.user_id] = chosen.load + 1
        changes.settle(session, ticket, {"assignee_id": chosen.user_id}, by)
    session.flush()


def check_takes(session: Session, queue: Queue | None, by: Subject) -> None:
    """Refuse a queue that the subject does not see, or that takes no new tickets.

    Raises:
        Invalid: names the field.
    """
    seen = queue is not None and session.scalar(
        select(Queue.id).where(Queue.id == queue.id, queues.visible(by, "read"))) is not None
    if queue is None or not seen or not queue.active:
        raise Invalid.of("/queue_id", "unknown", "There is no such queue that takes tickets.")


def _check_assignee(by: Subject, assignee: str, queue: Queue | None, team: str | None) -> None:
    """Refuse a person who does not answer the queue or, without one, is out of the subject's reach.

    Raises:
        Invalid: names the field.
    """
    if queue is not None:
        if assignee not in queue.members:
            raise Invalid.of("/assignee_id", "no_member", "Does not answer this queue.")
    elif assignee != by.id and not covers(by, contract.ASSIGN, owner=assignee, team=team):
        raise Invalid.of("/assignee_id", "out_of_reach", "You may not give tickets to this person.")
