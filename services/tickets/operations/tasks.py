"""Having something done for a ticket: tasks are kept by customers, and wanted here."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from chassis import outbox
from chassis.access import covers
from chassis.context import Subject
from chassis.database import new_id
from contracts import tickets as contract
from contracts.customers import TASK_ASSIGN
from contracts.errors import Invalid
from services.tickets.queries import tickets


def request(session: Session, asked: dict[str, Any], by: Subject) -> dict[str, Any]:
    """Announce that a task is wanted for a ticket; there will be one for this request, however often it is heard.

    Raises:
        NotFound: there is no such ticket within reach.
        Invalid: the caller may not give tasks to that person.
    """
    ticket = tickets.get(session, asked["id"], by)
    assignee, team = asked.get("assignee_id", by.id), by.teams[0] if by.teams else None
    if assignee != by.id and not covers(by, TASK_ASSIGN, owner=assignee, team=team):
        raise Invalid.of("/assignee_id", "out_of_reach", "You may not give tasks to this person.")
    wanted = {name: asked[name] for name in ("title", "description", "due_at", "priority")} | {
        "key": f"{contract.SERVICE}:{new_id()}", "subject": {"entity": "ticket", "id": ticket.id},
        "customer_id": ticket.customer_id, "assignee_id": assignee, "team_id": team, "requested_by": by.id}
    outbox.record(session, contract.TASK_REQUESTED, subject=wanted["key"], version=1, data=wanted, by=by)
    return wanted
