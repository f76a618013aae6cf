"""Changing a ticket: the lock, its trail, and what is announced.

Locks are taken in one order: a ticket before its queues, queues by id. Giving out a queue's tickets passes over those
that somebody holds (`operations.assignment`), so nobody waits for a ticket while holding a queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chassis import history, outbox
from chassis.context import Subject
from contracts import tickets as contract
from contracts.event import EventType
from contracts.schema import attributes
from services.tickets.domain import tickets as domain
from services.tickets.models import FieldChange, Ticket
from services.tickets.queries import tickets

_SEALED = {"resolution"}


def for_write(session: Session, ticket_id: str, by: Subject, action: str, expected_version: int | None) -> Ticket:
    """Return the ticket, locked, if the subject may do `action` to it.

    Raises:
        NotFound: there is none, or it is out of reach.
        StaleVersion: it is not at `expected_version`; None asks for no particular one.
    """
    query = (select(Ticket).where(Ticket.id == ticket_id, tickets.visible(by, action))
             .with_for_update(of=Ticket, key_share=True))
    ticket = session.scalar(query)
    if ticket is None:
        raise tickets.no_such(ticket_id)
    history.check_version(ticket, expected_version)
    return ticket


def apply(session: Session, ticket: Ticket, fields: Mapping[str, Any], by: Subject) -> list[str]:
    """Set what differs, keep the trail, raise the version; return what changed."""
    return history.apply(session, FieldChange, ticket, fields, by, sealed=_SEALED)


def settle(session: Session, ticket: Ticket, fields: Mapping[str, Any], by: Subject) -> list[str]:
    """Set a locked ticket's fields and announce what happened to it; a change of nothing announces nothing."""
    before = ticket.status
    changed = apply(session, ticket, fields, by)
    if changed:
        announce(session, event_of(before, ticket, changed), ticket, changed, by)
    return changed


def event_of(before: str, ticket: Ticket, changed: Sequence[str]) -> EventType:
    """Return how a change is announced."""
    if ticket.status != before and ticket.status in (domain.RESOLVED, domain.CLOSED):
        return contract.TICKET_RESOLVED if ticket.status == domain.RESOLVED else contract.TICKET_CLOSED
    if before == domain.RESOLVED and ticket.status == domain.OPEN:
        return contract.TICKET_REOPENED
    if "assignee_id" in changed and ticket.assignee_id is not None:
        return contract.TICKET_ASSIGNED
    return contract.TICKET_UPDATED


def announce(session: Session, event: EventType, ticket: Ticket, changed: Sequence[str], by: Subject,
             **more: Any) -> None:
    """Announce a ticket as it is now."""
    outbox.record(session, event, subject=ticket.id, version=ticket.version, by=by,
                  data=attributes(contract.Ticket, ticket) | {"changed": list(changed)} | more)
