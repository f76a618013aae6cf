"""Reading tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.paging import Order, Page, Sealer, keyset_page, narrowed
from chassis.snapshot import Item
from contracts.errors import NotFound
from contracts.operation import Permission
from contracts.tasks import UNDER_WAY
from services.customers.models import Task
from services.customers.models.task import NEVER
from services.customers.queries import customers, engagement

_FILTERS = ("assignee_id", "status", "customer_id", "subject_entity", "subject_id")
_SORTS = {"due_at": Task.due_rank, "created_at": Task.created_at}


def visible(subject: Subject, action: str) -> ColumnElement[bool]:
    """The one predicate: the tasks to which `subject` may do `action`.

    A task is within reach of its assignee, its creator, its team, and whoever sees its customer.
    """
    return engagement.visible(subject, Permission("task", action), people=(Task.assignee_id, Task.created_by),
                              team=Task.team_id, customer=Task.customer_id)


def get(session: Session, task_id: str, subject: Subject) -> Task:
    """Return a task within the subject's reach.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    found = session.scalar(select(Task).where(Task.id == task_id, visible(subject, "read")))
    if found is None:
        raise no_such(task_id)
    return found


def no_such(task_id: str) -> NotFound:
    """Return the error for a task that is not there, or out of reach."""
    return NotFound("There is no such task", entity="task", id=task_id)


def listed(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the tasks within the subject's reach.

    Raises:
        InvalidCursor: the cursor is not one of this list.
    """
    query = _filtered(select(Task).where(visible(subject, "read")), asked)
    order = Order.asked(asked["sort"], _SORTS, Task.id)
    return keyset_page(session, query, order, asked, subject, sealer, name="tasks")


def of_customer(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the tasks of a customer.

    Raises:
        NotFound: there is no such customer, or it is out of reach.
        InvalidCursor: the cursor is not one of this list.
    """
    customer = customers.get(session, asked["id"], subject)
    return listed(session, {**asked, "customer_id": customer.id}, subject, sealer)


def _filtered(query: Any, asked: dict[str, Any]) -> Any:
    """Return `query` with a condition for each filter that is asked for; a task without a date is due at no time."""
    query = narrowed(query, Task, asked, *_FILTERS)
    if "unfinished" in asked:
        among = Task.status.in_ if asked["unfinished"] else Task.status.not_in
        query = query.where(among(UNDER_WAY))
    if asked.get("due_from"):
        query = query.where(Task.due_rank >= asked["due_from"], Task.due_rank < NEVER)
    if asked.get("due_before"):
        query = query.where(Task.due_rank < asked["due_before"])
    return query


def snapshot(session: Session, after_id: str, limit: int) -> Sequence[Item]:
    """Return tasks in order of id, for a snapshot."""
    rows = session.scalars(select(Task).where(Task.id > after_id).order_by(Task.id).limit(limit))
    return [Item(row.id, row.version, row) for row in rows]
