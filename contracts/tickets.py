"""What the tickets service is asked, answers and announces: what customers ask, and who answers it.

States. A ticket is `new` → `open` → `pending` → `resolved` → `closed`. It is `new` until somebody works on it: claims
it, answers it or opens it. `pending` waits for the customer. Resolving takes a resolution, and only what is resolved
can be closed. A customer's reply opens a pending or resolved ticket again; a closed one stays closed. `reopen_count`
counts how often a resolved ticket became open again. Notes of the team's own (`internal`) are no reply and change no
state.

Queues. A ticket in a queue is given to one of its members by the queue's strategy, as soon as one has room for it:
`round_robin` in turn, `least_open` to whoever has the fewest that are not resolved, `manual` to nobody, members claim.
`max_open` limits what a member has at once, given or claimed; whoever assigns by hand may exceed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from contracts import customers, errors, tasks
from contracts.event import EventType
from contracts.operation import Operation, Permission
from contracts.schema import (
    ById,
    Empty,
    Identifier,
    OneOf,
    PageRequest,
    Record,
    Request,
    Sensitive,
    Text,
    Timestamp,
    page_of,
)

SERVICE = "tickets"
TICKET_STATES = ("new", "open", "pending", "resolved", "closed")
UNRESOLVED_STATES = ("new", "open", "pending")
"""The states of a ticket that still wants something."""
TICKET_TYPES = ("question", "problem", "complaint", "feedback")
PRIORITIES = ("low", "normal", "high", "urgent")
CHANNELS = ("phone", "email", "wechat", "web", "visit", "other")
DIRECTIONS = ("inbound", "outbound")
STRATEGIES = ("round_robin", "least_open", "manual")
LONGEST_BODY = 20_000
MOST_MEMBERS = 200
MOST_OPEN = 10_000


# --- tickets ------------------------------------------------------------------------------------------------------


class _TicketFields(Request):
    type = fields.String(validate=OneOf(*TICKET_TYPES))
    priority = fields.String(validate=OneOf(*PRIORITIES))
    channel = fields.String(validate=OneOf(*CHANNELS), metadata={"description": "Where the customer asked."})
    customer_id = Identifier(allow_none=True)
    product = Text(most=100, metadata={"description": "What it is about, such as an SKU; empty where nothing."})


class TicketCreate(_TicketFields):
    """A new ticket. `body`, the customer's own words, becomes its first message."""

    subject = Text(required=True, least=1, most=300)
    body = Sensitive(validate=validate.Length(max=LONGEST_BODY))
    queue_id = Identifier(allow_none=True)


class TicketChanges(_TicketFields):
    """The fields to change; what is absent stays. Queue and assignee are changed by assigning."""

    subject = Text(least=1, most=300)


class TicketChange(Request):
    """A change to the ticket as the caller last read it."""

    id = Identifier(required=True)
    expected_version = fields.Integer(required=True, strict=True)
    changes = fields.Nested(TicketChanges, required=True)


class TicketAssign(ById):
    """Gives a ticket to a queue, a person, or both; null takes it away. In a new queue it is given out again."""

    queue_id = Identifier(allow_none=True)
    assignee_id = Identifier(allow_none=True, metadata={"description": "User id; a member of the ticket's queue."})
    expected_version = fields.Integer(strict=True, load_default=None, allow_none=True)

    @validates_schema
    def says_something(self, data: Mapping[str, Any], **_: Any) -> None:
        """Ask for a queue, a person, or both."""
        if "queue_id" not in data and "assignee_id" not in data:
            raise ValidationError("Give queue_id, assignee_id or both.")


class TicketClaim(ById):
    """Takes a ticket that nobody has."""

    expected_version = fields.Integer(strict=True, load_default=None, allow_none=True)


class TicketStatus(ById):
    """Moves a ticket. `resolved` takes a resolution; `open` reopens what is resolved."""

    status = fields.String(required=True, validate=OneOf(*TICKET_STATES))
    resolution = Sensitive(validate=validate.Length(max=LONGEST_BODY))
    expected_version = fields.Integer(strict=True, load_default=None, allow_none=True)


class _TicketFilters(Request):
    unresolved = fields.Boolean(metadata={
        "description": "`true`: only what is new, open or pending; `false`: only the rest."})
    queue_id = Identifier()
    assignee_id = Identifier()
    unassigned = fields.Boolean(metadata={"description": "`true`: only what nobody has; `false`: only the rest."})
    customer_id = Identifier()
    type = fields.String(validate=OneOf(*TICKET_TYPES))
    priority = fields.String(validate=OneOf(*PRIORITIES))


class TicketList(PageRequest, _TicketFilters):
    """Filters of the list: the tickets within your reach."""

    status = fields.String(validate=OneOf(*TICKET_STATES))
    sort = fields.String(load_default="-created_at",
                         validate=OneOf("created_at", "-created_at", "updated_at", "-updated_at"))


class TicketCount(_TicketFilters):
    """Which tickets to count, of those within your reach."""


class TicketCounts(Record):
    """How many tickets there are in each state."""

    new = fields.Integer(required=True)
    open = fields.Integer(required=True)
    pending = fields.Integer(required=True)
    resolved = fields.Integer(required=True)
    closed = fields.Integer(required=True)


class Ticket(Record):
    """What a customer asked, and how far it has come."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    subject = fields.String(required=True)
    type = fields.String(required=True, validate=OneOf(*TICKET_TYPES))
    priority = fields.String(required=True, validate=OneOf(*PRIORITIES))
    channel = fields.String(required=True, validate=OneOf(*CHANNELS))
    customer_id = fields.String(required=True, allow_none=True)
    product = fields.String(required=True)
    queue_id = fields.String(required=True, allow_none=True)
    assignee_id = fields.String(required=True, allow_none=True)
    team_id = fields.String(required=True, allow_none=True)
    status = fields.String(required=True, validate=OneOf(*TICKET_STATES))
    resolution = Sensitive(required=True, allow_none=True)
    reopen_count = fields.Integer(required=True)
    resolved_at = Timestamp(required=True, allow_none=True)
    closed_at = Timestamp(required=True, allow_none=True)
    created_by = fields.String(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class TicketChanged(Ticket):
    """A ticket as it is now, and the names of the fields that changed; none of a ticket that is new."""

    changed = fields.List(fields.String(), required=True)


class Trail(PageRequest):
    """The changes of the ticket at the path, oldest first."""

    id = Identifier(required=True)


class TicketStep(Record):
    """One field's change: what it was, what it became, who, when; of a resolution only that it changed."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    field = fields.String(required=True)
    before = fields.Raw(required=True, allow_none=True)
    after = fields.Raw(required=True, allow_none=True)
    changed_by = fields.String(required=True)
    changed_at = Timestamp(required=True)


# --- messages -----------------------------------------------------------------------------------------------------


class MessageWrite(ById):
    """What was said: by the team (`outbound`), or the customer (`inbound`). `internal` is a note for the team alone."""

    direction = fields.String(load_default="outbound", validate=OneOf(*DIRECTIONS))
    internal = fields.Boolean(load_default=False)
    body = Sensitive(required=True, validate=validate.Length(min=1, max=LONGEST_BODY))

    @validates_schema
    def notes_are_ours(self, data: Mapping[str, Any], **_: Any) -> None:
        """Refuse a note of the team that the customer has said."""
        if data.get("internal") and data.get("direction") == "inbound":
            raise ValidationError("What the customer said cannot be internal.", field_name="internal")


class MessageRef(ById):
    """Names one message of a ticket."""

    message_id = Identifier(required=True)


class MessagesOfTicket(PageRequest):
    """The messages of the ticket at the path, oldest first."""

    id = Identifier(required=True)
    internal = fields.Boolean(metadata={"description": "`true`: the team's own notes; `false`: what was exchanged."})


class Message(Record):
    """What was said, as it was written; it is never changed."""

    id = Identifier(required=True)
    ticket_id = Identifier(required=True)
    direction = fields.String(required=True, validate=OneOf(*DIRECTIONS))
    internal = fields.Boolean(required=True)
    body = Sensitive(required=True)
    author_id = fields.String(required=True)
    created_at = Timestamp(required=True)


class TicketReplied(TicketChanged):
    """A ticket after a reply, and the reply. Notes of the team's own are not announced."""

    message = fields.Nested(Message, required=True)


# --- tasks --------------------------------------------------------------------------------------------------------


class TaskForTicket(ById):
    """Something to be done for the ticket, by its asker unless `assignee_id` says whom."""

    title = Text(required=True, least=1, most=tasks.LONGEST_TITLE)
    description = Sensitive(load_default="", validate=validate.Length(max=tasks.LONGEST_TEXT))
    assignee_id = Identifier(metadata={"description": "User id. Giving a task to somebody else needs `task:assign`."})
    due_at = Timestamp(load_default=None, allow_none=True)
    priority = fields.String(load_default="normal", validate=OneOf(*tasks.PRIORITIES))


# --- queues -------------------------------------------------------------------------------------------------------


class _QueueFields(Request):
    strategy = fields.String(validate=OneOf(*STRATEGIES))
    max_open = fields.Integer(strict=True, allow_none=True, validate=validate.Range(min=1, max=MOST_OPEN), metadata={
        "description": "How many tickets that are not resolved a member has at most; null for no limit."})
    team_id = Identifier(allow_none=True, metadata={"description": "Whose tickets they are."})


class QueueCreate(_QueueFields):
    """A new queue."""

    name = Text(required=True, least=1, most=100)
    members = fields.List(Identifier(), validate=validate.Length(max=MOST_MEMBERS))


class QueueChanges(_QueueFields):
    """The fields to change; what is absent stays. A queue that is not active takes no new tickets."""

    name = Text(least=1, most=100)
    active = fields.Boolean()


class QueueChange(Request):
    """A change to the queue as the caller last read it."""

    id = Identifier(required=True)
    expected_version = fields.Integer(required=True, strict=True)
    changes = fields.Nested(QueueChanges, required=True)


class QueueMember(ById):
    """Names one member of a queue."""

    user_id = Identifier(required=True)


class QueueList(PageRequest):
    """Filters of the list."""

    active = fields.Boolean()


class Queue(Record):
    """Where tickets wait for a member; `members` are user ids, in the order in which they joined."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    name = fields.String(required=True)
    strategy = fields.String(required=True, validate=OneOf(*STRATEGIES))
    max_open = fields.Integer(required=True, allow_none=True)
    team_id = fields.String(required=True, allow_none=True)
    active = fields.Boolean(required=True)
    members = fields.List(fields.String(), required=True)
    created_by = fields.String(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


# --- operations ---------------------------------------------------------------------------------------------------

READ = Permission("ticket", "read")
CREATE = Permission("ticket", "create")
CHANGE = Permission("ticket", "change")
ASSIGN = Permission("ticket", "assign")
CLAIM = Permission("ticket", "claim")
REPLY = Permission("ticket", "reply")
QUEUE_READ = Permission("queue", "read")
QUEUE_CREATE = Permission("queue", "create")
QUEUE_CHANGE = Permission("queue", "change")

_STEP_REFUSALS = (errors.NotFound, errors.StaleVersion, errors.InvalidTransition)
_LIST_REFUSALS = (errors.InvalidCursor, errors.NotFound)

CREATE_TICKET = Operation(SERVICE, "create_ticket", TicketCreate, Ticket, CREATE,
                          (errors.Invalid, errors.CustomerNotKnown), summary="Open a ticket")
GET_TICKET = Operation(SERVICE, "get_ticket", ById, Ticket, READ, (errors.NotFound,), mutates=False,
                       summary="Read a ticket")
LIST_TICKETS = Operation(SERVICE, "list_tickets", TicketList, page_of(Ticket), READ, (errors.InvalidCursor,),
                         mutates=False, summary="List the tickets within your reach")
COUNT_TICKETS = Operation(SERVICE, "count_tickets", TicketCount, TicketCounts, READ, mutates=False,
                          summary="Count the tickets within your reach by state")
CHANGE_TICKET = Operation(SERVICE, "change_ticket", TicketChange, Ticket, CHANGE,
                          (*_STEP_REFUSALS, errors.CustomerNotKnown), summary="Change a ticket")
ASSIGN_TICKET = Operation(SERVICE, "assign_ticket", TicketAssign, Ticket, ASSIGN, (*_STEP_REFUSALS, errors.Invalid),
                          summary="Give a ticket to a queue or a person")
CLAIM_TICKET = Operation(SERVICE, "claim_ticket", TicketClaim, Ticket, CLAIM, (*_STEP_REFUSALS, errors.Conflict),
                         summary="Take a ticket that nobody has")
SET_TICKET_STATUS = Operation(SERVICE, "set_ticket_status", TicketStatus, Ticket, CHANGE,
                              (*_STEP_REFUSALS, errors.Invalid), summary="Move a ticket to another state")
LIST_TRAIL = Operation(SERVICE, "list_trail", Trail, page_of(TicketStep), READ, _LIST_REFUSALS, mutates=False,
                       summary="List who changed what of a ticket")
ADD_MESSAGE = Operation(SERVICE, "add_message", MessageWrite, Message, REPLY,
                        (errors.NotFound, errors.InvalidTransition, errors.Invalid), summary="Add what was said")
GET_MESSAGE = Operation(SERVICE, "get_message", MessageRef, Message, READ, (errors.NotFound,), mutates=False,
                        summary="Read a message of a ticket")
LIST_MESSAGES = Operation(SERVICE, "list_messages", MessagesOfTicket, page_of(Message), READ, _LIST_REFUSALS,
                          mutates=False, summary="List the messages of a ticket")
REQUEST_TASK = Operation(SERVICE, "request_task", TaskForTicket, tasks.TaskRequest, customers.TASK_CREATE,
                         (errors.NotFound, errors.Invalid), summary="Want something done for a ticket")

CREATE_QUEUE = Operation(SERVICE, "create_queue", QueueCreate, Queue, QUEUE_CREATE,
                         (errors.Invalid, errors.AlreadyExists), summary="Create a queue", audited="queue")
GET_QUEUE = Operation(SERVICE, "get_queue", ById, Queue, QUEUE_READ, (errors.NotFound,), mutates=False,
                      summary="Read a queue")
LIST_QUEUES = Operation(SERVICE, "list_queues", QueueList, page_of(Queue), QUEUE_READ, (errors.InvalidCursor,),
                        mutates=False, summary="List queues")
CHANGE_QUEUE = Operation(SERVICE, "change_queue", QueueChange, Queue, QUEUE_CHANGE,
                         (errors.NotFound, errors.StaleVersion, errors.Invalid, errors.AlreadyExists),
                         summary="Change a queue", audited="queue")
ADD_QUEUE_MEMBER = Operation(SERVICE, "add_queue_member", QueueMember, Queue, QUEUE_CHANGE,
                             (errors.NotFound, errors.Invalid), summary="Let somebody answer a queue", audited="queue")
REMOVE_QUEUE_MEMBER = Operation(SERVICE, "remove_queue_member", QueueMember, Empty, QUEUE_CHANGE, (errors.NotFound,),
                                summary="Let somebody answer a queue no longer", audited="queue")

OPERATIONS = (CREATE_TICKET, GET_TICKET, LIST_TICKETS, COUNT_TICKETS, CHANGE_TICKET, ASSIGN_TICKET, CLAIM_TICKET,
              SET_TICKET_STATUS, LIST_TRAIL, ADD_MESSAGE, GET_MESSAGE, LIST_MESSAGES, REQUEST_TASK,
              CREATE_QUEUE, GET_QUEUE, LIST_QUEUES, CHANGE_QUEUE, ADD_QUEUE_MEMBER, REMOVE_QUEUE_MEMBER)


# --- events -------------------------------------------------------------------------------------------------------

TICKET_CREATED = EventType(SERVICE, "ticket.created", "ticket", TicketChanged, expects_listener=False)
TICKET_UPDATED = EventType(SERVICE, "ticket.updated", "ticket", TicketChanged, expects_listener=False)
"""What the other events of a ticket do not tell: its fields, another state, nobody's any more."""
TICKET_ASSIGNED = EventType(SERVICE, "ticket.assigned", "ticket", TicketChanged, expects_listener=False)
TICKET_REPLIED = EventType(SERVICE, "ticket.replied", "ticket", TicketReplied, expects_listener=False)
TICKET_RESOLVED = EventType(SERVICE, "ticket.resolved", "ticket", TicketChanged, expects_listener=False)
TICKET_REOPENED = EventType(SERVICE, "ticket.reopened", "ticket", TicketChanged, expects_listener=False)
TICKET_CLOSED = EventType(SERVICE, "ticket.closed", "ticket", TicketChanged, expects_listener=False)
TICKET_SNAPSHOT = EventType(SERVICE, "ticket.snapshot", "ticket", Ticket, expects_listener=False)
TASK_REQUESTED = tasks.task_requested(SERVICE)

EVENTS = (TICKET_CREATED, TICKET_UPDATED, TICKET_ASSIGNED, TICKET_REPLIED, TICKET_RESOLVED, TICKET_REOPENED,
          TICKET_CLOSED, TICKET_SNAPSHOT, TASK_REQUESTED)
