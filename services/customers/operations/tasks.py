"""Use cases on tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chassis import outbox
from chassis.access import covers
from chassis.context import Subject
from chassis.database import utcnow
from contracts import customers as contract
from contracts import tasks as shapes
from contracts.errors import Invalid
from contracts.event import EventType
from contracts.schema import attributes
from services.customers.domain import tasks as domain
from services.customers.models import Task
from services.customers.operations import activities
from services.customers.operations import changes as history
from services.customers.queries import engagement, tasks

EVENTS: Mapping[str, EventType] = {
    "updated": contract.TASK_UPDATED, "completed": contract.TASK_COMPLETED, "reopened": contract.TASK_REOPENED,
    "cancelled": contract.TASK_CANCELLED,
}
"""What happened to a task → how it is announced."""


def create(session: Session, asked: dict[str, Any], by: Subject) -> Task:
    """Create a task, its creator's own unless it says whose, and announce it.

    Raises:
        NotFound: there is no such customer or contact within reach.
        Invalid: the creator may not give tasks to that person or team, or the customer is not the subject's.
    """
    customer_id = engagement.customer_of(session, asked.get("subject"), asked.get("customer_id"), by)
    team = asked.get("team_id") or (by.teams[0] if by.teams else None)
    given = {"assignee_id": by.id, **asked, "customer_id": customer_id, "team_id": team}
    _check_placement(by, assignee=given["assignee_id"], team=team)
    return born(session, Task(**given, created_by=by.id), by)


def change(session: Session, asked: dict[str, Any], by: Subject) -> Task:
    """Change a task, keep the history of each field, and announce it; a change of nothing announces nothing.

    Raises:
        NotFound: there is no such task within reach.
        StaleVersion: it has changed since the caller read it.
        InvalidTransition: it is cancelled, or done and would be moved.
        Invalid: the caller may not give tasks to that person or team.
    """
    task = for_write(session, asked["id"], by, "change")
    history.check_version(task, asked["expected_version"])
    domain.require_editable(task.status)
    fields = dict(asked["changes"])
    fields |= domain.work(task.status, fields.pop("status", None), fields.pop("progress", None))
    placed = {name: fields.get(name, getattr(task, name)) for name in ("assignee_id", "team_id")}
    if placed != {"assignee_id": task.assignee_id, "team_id": task.team_id}:
        _check_placement(by, assignee=placed["assignee_id"], team=placed["team_id"])
    settle(session, task, fields, by)
    return task


def complete(session: Session, asked: dict[str, Any], by: Subject) -> Task:
    """Complete a task and announce it.

    Raises:
        NotFound: there is no such task within reach.
        StaleVersion: it has changed since the caller read it.
        InvalidTransition: it is done or cancelled.
    """
    task = _stepping(session, asked, by)
    settle(session, task, domain.complete(task.status, utcnow()), by)
    return task


def reopen(session: Session, asked: dict[str, Any], by: Subject) -> Task:
    """Reopen a task that is done, and announce it.

    Raises:
        NotFound, StaleVersion: as for completing.
        InvalidTransition: it is not done.
    """
    task = _stepping(session, asked, by)
    settle(session, task, domain.reopen(task.status), by)
    return task


def cancel(session: Session, asked: dict[str, Any], by: Subject) -> Task:
    """Cancel a task for good, and announce it.

    Raises:
        NotFound, StaleVersion: as for completing.
        InvalidTransition: it is done or cancelled.
    """
    task = _stepping(session, asked, by)
    settle(session, task, domain.cancel(task.status, asked["reason"]), by)
    return task


def remove(session: Session, asked: dict[str, Any], by: Subject) -> dict[str, Any]:
    """Remove a task, and announce it as it last was.

    Raises:
        NotFound: there is no such task within reach.
        StaleVersion: it has changed since the caller read it.
    """
    task = for_write(session, asked["id"], by, "delete")
    history.check_version(task, asked["expected_version"])
    task.version += 1
    _announce(session, contract.TASK_DELETED, task, [], by, "hub")
    session.delete(task)
    session.flush()
    return {}


def born(session: Session, task: Task, by: Subject, origin: str = "hub") -> Task:
    """Keep a new task and announce it."""
    session.add(task)
    session.flush()
    _announce(session, contract.TASK_CREATED, task, [], by, origin)
    return task


def settle(session: Session, task: Task, fields: Mapping[str, Any], by: Subject, origin: str = "hub") -> None:
    """Set a locked task's fields, and announce what happened to it; its end stands on its customer's timeline."""
    before = task.status
    changed = history.apply(session, task, fields, by)
    if not changed:
        return
    step = domain.step_of(before, task.status)
    _announce(session, EVENTS[step], task, changed, by, origin)
    if task.customer_id and step in ("completed", "cancelled"):
        activities.note(session, {"entity": "task", "id": task.id}, task.customer_id, f"task.{step}: {task.title}", by,
                        origin)


def for_write(session: Session, task_id: str, by: Subject, action: str) -> Task:
    """Return the task, locked, if the subject may do `action` to it.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    query = select(Task).where(Task.id == task_id, tasks.visible(by, action)).with_for_update()
    found = session.scalar(query)
    if found is None:
        raise tasks.no_such(task_id)
    return found


def _stepping(session: Session, asked: dict[str, Any], by: Subject) -> Task:
    task = for_write(session, asked["id"], by, "change")
    if asked["expected_version"] is not None:
        history.check_version(task, asked["expected_version"])
    return task


def _check_placement(by: Subject, *, assignee: str, team: str | None) -> None:
    """Refuse to give a task to somebody, put it in a team, or take it out of every team, where the subject may not.

    A task without a team is out of its managers' sight, so taking the team away needs more than owning it.

    Raises:
        Invalid: names the field.
    """
    depth = by.depth(contract.TASK_ASSIGN.entity, contract.TASK_ASSIGN.action)
    if depth == "all":
        return
    if assignee != by.id and not covers(by, contract.TASK_ASSIGN, owner=assignee, team=team):
        raise Invalid.of("/assignee_id", "out_of_reach", "You may not give tasks to this person.")
    if team is None and depth in ("none", "own") and by.teams:
        raise Invalid.of("/team_id", "out_of_reach", "Keep it in one of your teams.")
    if team is not None and team not in {*by.teams, *by.tree}:
        raise Invalid.of("/team_id", "out_of_reach", "Is not one of your teams.")


def _announce(session: Session, event: EventType, task: Task, changed: list[str], by: Subject, origin: str) -> None:
    outbox.record(session, event, subject=task.id, version=task.version, by=by, origin=origin,
                  data=attributes(shapes.Task, task) | {"changed": changed})
