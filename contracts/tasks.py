"""Tasks and activities as data: what people are to do and have done about a customer, whichever room asks for it.

A task is `open` → `in_progress` → `done` or `cancelled`. A done task can be reopened; a cancelled one stays as it is.
The customers service keeps both (`contracts.customers`); any service may want a task (`task_requested`).
"""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from contracts.event import EventType
from contracts.schema import (
    ById,
    Identifier,
    OneOf,
    PageRequest,
    Record,
    Request,
    Sensitive,
    Text,
    Timestamp,
)

STATES = ("open", "in_progress", "done", "cancelled")
UNDER_WAY = ("open", "in_progress")
"""The states between which a change of the task moves it; the others are reached by a step of their own."""
PRIORITIES = ("low", "normal", "high")
SUBJECTS = ("customer", "contact", "lead", "opportunity", "quote", "order", "ticket")
"""Kinds of record that a task or an activity may be about."""
ACTIVITY_KINDS = ("call", "visit", "meeting", "wechat", "email", "note", "system")
LOGGED_BY_PEOPLE = tuple(kind for kind in ACTIVITY_KINDS if kind != "system")
LONGEST_TITLE = 500
LONGEST_TEXT = 20_000


def _percent(**kwargs: Any) -> fields.Integer:
    return fields.Integer(strict=True, validate=validate.Range(min=0, max=100), **kwargs)


class About(Record):
    """The record that a task or an activity is about; what the hub itself wrote down may be about a task."""

    entity = fields.String(required=True, validate=OneOf(*SUBJECTS, "task"))
    id = Identifier(required=True)


class AboutAsked(About):
    """The record that a task or an activity is about, as a caller says it."""

    entity = fields.String(required=True, validate=OneOf(*SUBJECTS))

    class Meta(Request.Meta):
        pass


class ExternalRef(Record):
    """The record of another system that a record of the hub was born from."""

    connection_id = Identifier(required=True)
    external_id = fields.String(required=True)


# --- tasks --------------------------------------------------------------------------------------------------------


class Task(Record):
    """Something that somebody is to do.

    `requested_by_key` is the key under which a service wanted it, `external_ref` the record of another system that it
    was born from; both are null for what a person made here.
    """

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    title = fields.String(required=True)
    description = Sensitive(required=True)
    subject = fields.Nested(About, required=True, allow_none=True)
    customer_id = fields.String(required=True, allow_none=True)
    assignee_id = fields.String(required=True)
    team_id = fields.String(required=True, allow_none=True)
    due_at = Timestamp(required=True, allow_none=True)
    priority = fields.String(required=True, validate=OneOf(*PRIORITIES))
    progress = _percent(required=True)
    status = fields.String(required=True, validate=OneOf(*STATES))
    completed_at = Timestamp(required=True, allow_none=True)
    cancel_reason = fields.String(required=True, allow_none=True)
    requested_by_key = fields.String(required=True, allow_none=True)
    external_ref = fields.Nested(ExternalRef, required=True, allow_none=True)
    created_by = fields.String(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class TaskChanged(Task):
    """A task as it is now, and the names of the fields that changed; none of a task that is new or gone."""

    changed = fields.List(fields.String(), required=True)


class _TaskFields(Request):
    description = Sensitive(validate=validate.Length(max=LONGEST_TEXT))
    due_at = Timestamp(allow_none=True)
    priority = fields.String(validate=OneOf(*PRIORITIES))
    assignee_id = Identifier(metadata={"description": "User id. Giving a task to somebody else needs `task:assign`."})
    team_id = Identifier(allow_none=True)


class TaskCreate(_TaskFields):
    """A new task, its creator's own unless `assignee_id` says whose.

    A task about a customer or a contact belongs to that customer; about anything else, to `customer_id` if given.
    """

    title = Text(required=True, least=1, most=LONGEST_TITLE)
    subject = fields.Nested(AboutAsked, allow_none=True)
    customer_id = Identifier(allow_none=True)


class TaskChanges(_TaskFields):
    """The fields to change; what is absent stays. Progress above zero puts an open task in progress."""

    title = Text(least=1, most=LONGEST_TITLE)
    status = fields.String(validate=OneOf(*UNDER_WAY))
    progress = _percent()


class TaskChange(Request):
    """A change to the task as the caller last read it."""

    id = Identifier(required=True)
    expected_version = fields.Integer(required=True, strict=True)
    changes = fields.Nested(TaskChanges, required=True)


class TaskStep(ById):
    """Completes a task, or reopens one that is done."""

    expected_version = fields.Integer(strict=True, load_default=None, allow_none=True)


class TaskCancel(ById):
    """Cancels a task that is not done, for good."""

    reason = Text(load_default="", most=300)
    expected_version = fields.Integer(strict=True, load_default=None, allow_none=True)


class TaskDelete(ById):
    """Removes a task, here and wherever it was brought."""

    expected_version = fields.Integer(required=True, strict=True)


class _TaskFilters(PageRequest):
    assignee_id = Identifier()
    status = fields.String(validate=OneOf(*STATES))
    unfinished = fields.Boolean(metadata={
        "description": "`true`: only what is open or in progress; `false`: only the rest."})
    due_from = Timestamp()
    due_before = Timestamp()
    subject_entity = fields.String(validate=OneOf(*SUBJECTS))
    subject_id = Identifier()
    sort = fields.String(load_default="due_at", validate=OneOf("due_at", "-created_at"), metadata={
        "description": "`due_at`: what is due first comes first, what has no date last."})


class TaskList(_TaskFilters):
    """The tasks within your reach: assigned to you, made by you, or of a customer that you see."""

    customer_id = Identifier()


class TasksOfCustomer(_TaskFilters):
    """The tasks of the customer at the path."""

    id = Identifier(required=True)


class TaskRequest(Record):
    """A service wants a task; however often it says so under one `key`, there will be one task.

    `key` is unique among all services: it begins with the service's name. `requested_by` is the user who then counts
    as the task's creator and so sees it.
    """

    key = Text(required=True, least=1, most=200)
    subject = fields.Nested(About, load_default=None, allow_none=True)
    customer_id = Identifier(load_default=None, allow_none=True)
    title = Text(required=True, least=1, most=LONGEST_TITLE)
    description = Sensitive(load_default="", validate=validate.Length(max=LONGEST_TEXT))
    assignee_id = Identifier(required=True)
    team_id = Identifier(load_default=None, allow_none=True)
    due_at = Timestamp(load_default=None, allow_none=True)
    priority = fields.String(load_default="normal", validate=OneOf(*PRIORITIES))
    requested_by = Identifier(load_default=None, allow_none=True)


def task_requested(service: str) -> EventType:
    """Return the event type with which `service` wants a task; it stands among the events of that service's contract.

    Its `subject` is the request's key.
    """
    return EventType(service, "task.requested", "task_request", TaskRequest)


class ExternalTask(Record):
    """What customers takes from an `external.changed` whose entity is `task`: the task as the other system has it."""

    title = Text(load_default="", most=LONGEST_TITLE)
    description = Text(load_default="", allow_none=True, most=LONGEST_TEXT)
    due_at = Timestamp(load_default=None, allow_none=True)
    priority = fields.String(load_default="normal", validate=OneOf(*PRIORITIES))
    progress = _percent(load_default=0)
    status = fields.String(load_default="open", validate=OneOf(*STATES))
    completed_at = Timestamp(load_default=None, allow_none=True)


# --- activities ---------------------------------------------------------------------------------------------------


class Activity(Record):
    """Something that was done about a customer, as it was logged; it is never changed.

    The kind `system` is what the hub itself wrote down: a task that ended, a consent that was given or withdrawn.
    """

    id = Identifier(required=True)
    subject = fields.Nested(About, required=True)
    customer_id = fields.String(required=True, allow_none=True)
    kind = fields.String(required=True, validate=OneOf(*ACTIVITY_KINDS))
    content = Sensitive(required=True)
    occurred_at = Timestamp(required=True)
    user_id = fields.String(required=True)
    team_id = fields.String(required=True, allow_none=True)
    next_follow_up_at = Timestamp(required=True, allow_none=True)
    created_at = Timestamp(required=True)


class _ActivityFields(Request):
    kind = fields.String(required=True, validate=OneOf(*LOGGED_BY_PEOPLE))
    content = Sensitive(load_default="", validate=validate.Length(max=LONGEST_TEXT))
    occurred_at = Timestamp(metadata={"description": "Now, unless said; never in the future."})
    next_follow_up_at = Timestamp(load_default=None, allow_none=True)


class ActivityLog(_ActivityFields):
    """What was done. About a customer or a contact it belongs to that customer; else to `customer_id` if given."""

    subject = fields.Nested(AboutAsked, required=True)
    customer_id = Identifier(allow_none=True)


class _ActivityFilters(PageRequest):
    kind = fields.String(validate=OneOf(*ACTIVITY_KINDS))
    user_id = Identifier()


class ActivityList(_ActivityFilters):
    """The activities within your reach, newest first: your own, and those of the customers that you see."""

    customer_id = Identifier()
    subject_entity = fields.String(validate=OneOf(*SUBJECTS))
    subject_id = Identifier()


class ActivitiesOfCustomer(_ActivityFilters):
    """What people did about the customer at the path, newest first."""

    kind = fields.String(validate=OneOf(*LOGGED_BY_PEOPLE))
    id = Identifier(required=True)


class Timeline(_ActivityFilters):
    """All that happened with the customer at the path, newest first, what the hub itself wrote down included."""

    id = Identifier(required=True)
