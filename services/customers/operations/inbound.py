"""What other systems report, and what other services want: taken over once, in whatever order and however often told.

Events that a report causes carry the connection as their origin, so that the change does not travel back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chassis import outbox, telemetry
from chassis.context import Subject
from chassis.database import new_id, utcnow
from chassis.inbox import insert_if_absent
from contracts import customers as contract
from contracts import tasks as shapes
from contracts.customers import ExternalContact
from contracts.errors import InvalidTransition
from contracts.schema import attributes, load
from contracts.tasks import ExternalTask
from services.customers.domain import consent
from services.customers.domain import tasks as domain
from services.customers.models import Contact, Customer, ExternalRecord, Task, WantedTask
from services.customers.operations import changes as history
from services.customers.operations import consents, tasks

log = telemetry.logger(__name__)

US = Subject.service(contract.SERVICE)
"""Who follows other systems: nobody's request, the service's own deferred work."""
STANDING = ("status", "progress", "completed_at")
DESCRIBED = ("title", "description", "due_at", "priority")


def follow(session: Session, change: dict[str, Any], version: int) -> None:
    """Take over an `external.changed` of a kind of record that is kept here; any other is somebody else's.

    Args:
        session: the transaction of the event.
        change: `contracts.inbound.ExternalChange`.
        version: of the external record; it rises with every change that is told of it.

    Raises:
        Invalid: the record is not what its entity's schema describes; the event is parked.
    """
    if change["entity"] == "task":
        follow_task(session, change, version)
    elif change["entity"] in ("contact", "customer"):
        follow_consent(session, change, version)


def follow_task(session: Session, change: dict[str, Any], version: int) -> None:
    """Take over what another system says of a task, unless something newer is known.

    - A task of ours, or one born there that is known: the fields that `changed` names. Its removal there cancels it.
    - An unknown one becomes a task of the user in whose account it lies. In nobody's account, it is none of ours.
    - What the rules here do not allow is announced as `external.refused`, and nothing is changed.

    Raises:
        Invalid: the record is no task as `contracts.tasks.ExternalTask` describes it; the event is parked.
    """
    seen = _locked(session, change)
    seen.local_id = change["keys"].get("id") or seen.local_id
    if seen.local_id is None:
        _adopt(session, change, version, seen)
        return
    told = {} if change["deleted"] else load(ExternalTask, change["record"])
    fresh = _fresh(seen, version, STANDING if change["deleted"] else _named(change, (*DESCRIBED, *STANDING)))
    _mark(seen, version, fresh)
    task = session.scalars(select(Task).where(Task.id == seen.local_id).with_for_update()).one_or_none()
    if task is None or not fresh:
        return
    try:
        fields = _vanished(task, change) if change["deleted"] else _told(task, told, fresh, change)
    except InvalidTransition as refused:
        _refuse(session, change, version, task.id, fresh, refused.code, refused.message)
        return
    tasks.settle(session, task, fields, US, origin=change["connection_id"])


def _vanished(task: Task, change: dict[str, Any]) -> dict[str, Any]:
    return domain.vanish(task.status, f"deleted in {change['connection']}"[:300])


def _told(task: Task, told: dict[str, Any], fresh: Iterable[str], change: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that the report sets.

    Raises:
        InvalidTransition: the rules do not lead there.
    """
    told["description"] = told["description"] or ""
    fields = {name: told[name] for name in DESCRIBED if name in fresh and told[name] != getattr(task, name)}
    if fields:
        domain.require_editable(task.status)
    now = domain.standing(attributes(shapes.Task, task))
    if any(name in fresh for name in STANDING):
        # A field that the report does not name is as we have it; only a completion without its time takes theirs.
        mixed = {name: told[name] if name in fresh else getattr(now, name) for name in STANDING}
        if "status" in fresh:
            mixed["completed_at"] = told["completed_at"]
        fields |= domain.follow(now, domain.standing(mixed), change["seen_at"],
                                reason=f"cancelled in {change['connection']}"[:300])
    return fields


def _adopt(session: Session, change: dict[str, Any], version: int, seen: ExternalRecord) -> None:
    """Make a task of an unknown record, unless it is gone or somebody has told a newer story of it."""
    assignee, every = change["keys"].get("account_user_id"), (*DESCRIBED, *STANDING)
    if not _fresh(seen, version, ["status"]):
        return
    if change["deleted"]:
        _mark(seen, version, every)
        return
    if assignee is None:
        log.info("external_task_of_nobody", connection_id=change["connection_id"])
        return
    told = load(ExternalTask, change["record"])
    task = Task(id=new_id(), assignee_id=assignee, created_by=US.id, connection_id=change["connection_id"],
                external_id=change["external_id"], description=told["description"],
                **{name: told[name] for name in ("title", "due_at", "priority", "progress", "status")})
    if task.status == domain.DONE:
        task.progress, task.completed_at = 100, told["completed_at"] or change["seen_at"]
    if task.status == domain.CANCELLED:
        task.cancel_reason = f"cancelled in {change['connection']}"[:300]
    tasks.born(session, task, US, origin=change["connection_id"])
    _mark(seen, version, every)
    seen.local_id = task.id


def follow_consent(session: Session, change: dict[str, Any], version: int) -> None:
    """Take over what another system says of a contact's or customer's consent: a refusal always, a grant only where
    the hub holds no refusal. That the record is gone there says nothing of consent.

    A refusal applies even if it arrives after a grant that was told later: the order of arrival decides nothing.

    Raises:
        Invalid: the record is not as `contracts.customers.ExternalContact` describes it; the event is parked.
    """
    local_id = change["keys"].get("id")
    if local_id is None or change["deleted"] or "consent" not in _named(change, ["consent"]):
        return
    seen = _locked(session, change)
    seen.local_id = local_id
    record = _whose(session, change["entity"], local_id)
    if record is None:
        return
    held: consent.Consents = record.consent
    overruled = []
    for channel, said in load(ExternalContact, change["record"])["consent"].items():
        if not _is_news(seen, version, channel, said["state"]):
            continue
        if consent.overruled(held, channel, said["state"]):
            overruled.append(channel)
        else:
            held = consent.say(held, channel, said["state"], said["at"] or change["seen_at"], change["connection"])
    _take_consent(session, record, held, change["connection_id"])
    if overruled:
        _refuse(session, change, version, record.id, ["consent"], "consent_refused",
                f"The hub holds a refusal of: {', '.join(overruled)}; a refusal wins")


def _whose(session: Session, entity: str, id: str) -> Contact | Customer | None:
    if entity == "contact":
        return session.scalars(select(Contact).where(Contact.id == id).with_for_update()).one_or_none()
    return session.scalars(select(Customer).where(Customer.id == id).with_for_update()).one_or_none()


def _is_news(seen: ExternalRecord, version: int, channel: str, state: str) -> bool:
    """Tell whether a word on a channel is to be weighed, and remember it: each refusal, and a grant that is the newest
    word of all."""
    refusal, grant = f"{channel}.refused", f"{channel}.granted"
    said = [refusal] if state == consent.REFUSED else [refusal, grant]
    if len(_fresh(seen, version, said)) < len(said):
        return False
    _mark(seen, version, [refusal if state == consent.REFUSED else grant])
    return True


def _take_consent(session: Session, record: Contact | Customer, held: consent.Consents, origin: str) -> None:
    before = record.consent
    changed = history.apply(session, record, {"consent": held}, US)
    if not changed:
        return
    if isinstance(record, Contact):
        outbox.record(session, contract.CONTACT_UPDATED, subject=record.id, version=record.version, data=record, by=US,
                      origin=origin)
    else:
        outbox.record(session, contract.CUSTOMER_UPDATED, subject=record.id, version=record.version, by=US,
                      data=attributes(contract.Customer, record) | {"changed": changed}, origin=origin)
    consents.announce(session, record, before, US, origin)


def want_task(session: Session, wanted: dict[str, Any], service: str) -> None:
    """Make the task that another service wants (`task.requested`), once per key.

    A contact's or customer's task belongs to that customer. The user that the service names counts as its creator.
    """
    task_id = new_id()
    if not insert_if_absent(session, WantedTask.__table__, key=wanted["key"], task_id=task_id,  # type: ignore[arg-type]
                            received_at=utcnow()):
        return
    about, customer_id = wanted["subject"], wanted["customer_id"]
    if about and about["entity"] == "customer":
        customer_id = about["id"]
    elif about and about["entity"] == "contact":
        customer_id = session.scalar(select(Contact.customer_id).where(Contact.id == about["id"])) or customer_id
    given = {name: wanted[name] for name in ("title", "description", "assignee_id", "team_id", "due_at", "priority")}
    tasks.born(session, Task(id=task_id, **given, subject=about, customer_id=customer_id,
                             requested_by_key=wanted["key"], created_by=wanted["requested_by"] or service), US)


def _locked(session: Session, change: dict[str, Any]) -> ExternalRecord:
    """Return, locked, how far the external record has been followed: of two reports of it one waits for the other."""
    key = {name: change[name] for name in ("connection_id", "entity", "external_id")}
    insert_if_absent(session, ExternalRecord.__table__, **key, local_id=None, applied={})  # type: ignore[arg-type]
    return session.get_one(ExternalRecord, tuple(key.values()), with_for_update=True, populate_existing=True)


def _named(change: dict[str, Any], fields: Iterable[str]) -> list[str]:
    """Return those of `fields` that the report names as changed; all where it does not say."""
    return [name for name in fields if change.get("changed") is None or name in change["changed"]]


def _fresh(seen: ExternalRecord, version: int, fields: Iterable[str]) -> list[str]:
    return [name for name in fields if version > seen.applied.get(name, 0)]


def _mark(seen: ExternalRecord, version: int, fields: Iterable[str]) -> None:
    seen.applied = {**seen.applied, **dict.fromkeys(fields, version)}


def _refuse(session: Session, change: dict[str, Any], version: int, local_id: str, fields: list[str], code: str,
            reason: str) -> None:
    told = {name: change[name] for name in ("connection_id", "entity", "external_id", "remote_version")}
    outbox.record(session, contract.EXTERNAL_REFUSED, subject=change["external_id"], version=version, by=US,
                  origin=change["connection_id"],
                  data=told | {"local_id": local_id, "fields": fields, "code": code, "reason": reason})
