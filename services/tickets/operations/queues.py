"""Use cases on queues."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis import history
from chassis.context import Subject
from chassis.database import utcnow
from contracts import tickets as contract
from contracts.errors import AlreadyExists, Invalid
from services.tickets.domain import queues as domain
from services.tickets.models import Queue, QueueMember
from services.tickets.operations import assignment
from services.tickets.queries import queues


def create(session: Session, asked: dict[str, Any], by: Subject) -> Queue:
    """Create a queue.

    Raises:
        AlreadyExists: another queue has this name.
        Invalid: the team is out of the caller's reach.
    """
    _check_name(session, asked["name"])
    _check_team(by, contract.QUEUE_CREATE.action, asked.get("team_id"))
    members = dict.fromkeys(asked.get("members", ()))
    queue = Queue(name=asked["name"], strategy=asked.get("strategy", domain.ROUND_ROBIN), created_by=by.id,
                  max_open=asked.get("max_open"), team_id=asked.get("team_id"))
    queue.memberships = [QueueMember(user_id=user, place=place) for place, user in enumerate(members, 1)]
    session.add(queue)
    _flush(session)
    return queue


def change(session: Session, asked: dict[str, Any], by: Subject) -> Queue:
    """Change a queue, and give out what waits if somebody has room now.

    Raises:
        NotFound: there is no such queue within reach.
        StaleVersion: it has changed since the caller read it.
        AlreadyExists: another queue has this name.
        Invalid: the team is out of the caller's reach.
    """
    queue = _for_write(session, asked["id"], by)
    history.check_version(queue, asked["expected_version"])
    fields = {name: value for name, value in asked["changes"].items() if getattr(queue, name) != value}
    if "name" in fields:
        _check_name(session, fields["name"])
    if "team_id" in fields:
        _check_team(by, contract.QUEUE_CHANGE.action, fields["team_id"])
    for name, value in fields.items():
        setattr(queue, name, value)
    if fields:
        _touch(session, queue)
        assignment.hand_out(session, queue, by)
    return queue


def add_member(session: Session, asked: dict[str, Any], by: Subject) -> Queue:
    """Let somebody answer a queue, and give them what waits. Who does already stays where they are.

    Raises:
        NotFound: there is no such queue within reach.
        Invalid: it has as many members as it can have.
    """
    queue = _for_write(session, asked["id"], by)
    if asked["user_id"] in queue.members:
        return queue
    if len(queue.memberships) >= contract.MOST_MEMBERS:
        raise Invalid.of("/user_id", "too_many", f"A queue has at most {contract.MOST_MEMBERS} members.")
    place = max((one.place for one in queue.memberships), default=0) + 1
    queue.memberships.append(QueueMember(queue_id=queue.id, user_id=asked["user_id"], place=place))
    _touch(session, queue)
    assignment.hand_out(session, queue, by)
    return queue


def remove_member(session: Session, asked: dict[str, Any], by: Subject) -> dict[str, Any]:
    """Let somebody answer a queue no longer; what they have stays theirs until it is assigned anew.

    Raises:
        NotFound: there is no such queue within reach.
    """
    queue = _for_write(session, asked["id"], by)
    kept = [one for one in queue.memberships if one.user_id != asked["user_id"]]
    if len(kept) < len(queue.memberships):
        queue.memberships = kept
        _touch(session, queue)
    return {}


def _for_write(session: Session, queue_id: str, by: Subject) -> Queue:
    """Return the queue, locked, if the subject may change it.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    query = (select(Queue).where(Queue.id == queue_id, queues.visible(by, contract.QUEUE_CHANGE.action))
             .with_for_update(of=Queue, key_share=True))
    found = session.scalar(query)
    if found is None:
        raise queues.no_such(queue_id)
    return found


def _touch(session: Session, queue: Queue) -> None:
    queue.version += 1
    queue.updated_at = utcnow()
    _flush(session)


def _flush(session: Session) -> None:
    """Write; two queues that are given one name at once meet here, which `_check_name` cannot see."""
    try:
        session.flush()
    except IntegrityError as error:
        raise _name_taken() from error


def _name_taken() -> AlreadyExists:
    return AlreadyExists("Another queue has this name", field="name")


def _check_name(session: Session, name: str) -> None:
    if session.scalar(select(Queue.id).where(Queue.name == name)) is not None:
        raise _name_taken()


def _check_team(by: Subject, action: str, team: str | None) -> None:
    """Refuse a team where the subject may not keep queues, and a queue of no team to all who may not everywhere.

    Raises:
        Invalid: names the field.
    """
    if by.depth("queue", action) != "all" and (team is None or team not in {*by.teams, *by.tree}):
        raise Invalid.of("/team_id", "out_of_reach", "Is not one of your teams.")
