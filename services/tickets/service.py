"""The door of the tickets service."""

from __future__ import annotations

from typing import Any

from chassis.entrypoints import Call, Heard, Service, exposes, hears
from chassis.paging import Page
from chassis.runtime import Runtime
from chassis.snapshot import SnapshotSource
from contracts import customers
from contracts import tickets as contract
from services.tickets import models
from services.tickets.operations import assignment
from services.tickets.operations import customer_refs as customer_ref_operations
from services.tickets.operations import messages as message_operations
from services.tickets.operations import queues as queue_operations
from services.tickets.operations import tasks as task_operations
from services.tickets.operations import tickets as ticket_operations
from services.tickets.operations.upkeep import Upkeep
from services.tickets.queries import messages as message_queries
from services.tickets.queries import queues as queue_queries
from services.tickets.queries import tickets as ticket_queries
from services.tickets.settings import TicketsSettings


def upkeep(runtime: Runtime) -> Upkeep:
    """Return the room's background work."""
    return Upkeep(runtime.db)


class TicketsService(Service):
    """Answers for tickets, messages and queues; follows customers."""

    name = contract.SERVICE
    background = (upkeep,)
    snapshots = (SnapshotSource(contract.TICKET_SNAPSHOT, ticket_queries.snapshot),)

    @exposes(contract.CREATE_TICKET, again=ticket_queries.get)
    def create_ticket(self, call: Call) -> models.Ticket:
        """Open a ticket."""
        return ticket_operations.create(call.session, call.request, call.subject)

    @exposes(contract.GET_TICKET)
    def get_ticket(self, call: Call) -> models.Ticket:
        """Read a ticket."""
        return ticket_queries.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_TICKETS)
    def list_tickets(self, call: Call) -> Page:
        """List tickets."""
        return ticket_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.COUNT_TICKETS)
    def count_tickets(self, call: Call) -> dict[str, int]:
        """Count tickets by state."""
        return ticket_queries.counted(call.session, call.request, call.subject)

    @exposes(contract.CHANGE_TICKET, again=ticket_queries.get)
    def change_ticket(self, call: Call) -> models.Ticket:
        """Change a ticket."""
        return ticket_operations.change(call.session, call.request, call.subject)

    @exposes(contract.ASSIGN_TICKET, again=ticket_queries.get)
    def assign_ticket(self, call: Call) -> models.Ticket:
        """Assign a ticket."""
        return assignment.assign(call.session, call.request, call.subject)

    @exposes(contract.CLAIM_TICKET, again=ticket_queries.get)
    def claim_ticket(self, call: Call) -> models.Ticket:
        """Claim a ticket."""
        return assignment.claim(call.session, call.request, call.subject)

    @exposes(contract.SET_TICKET_STATUS, again=ticket_queries.get)
    def set_ticket_status(self, call: Call) -> models.Ticket:
        """Move a ticket."""
        return ticket_operations.set_status(call.session, call.request, call.subject)

    @exposes(contract.LIST_TRAIL)
    def list_trail(self, call: Call) -> Page:
        """List the changes of a ticket."""
        return ticket_queries.trail(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.ADD_MESSAGE, again=message_queries.get)
    def add_message(self, call: Call) -> models.Message:
        """Add a message."""
        return message_operations.add(call.session, call.request, call.subject)

    @exposes(contract.GET_MESSAGE)
    def get_message(self, call: Call) -> models.Message:
        """Read a message."""
        asked = call.request
        return message_queries.of_ticket(call.session, asked["id"], asked["message_id"], call.subject)

    @exposes(contract.LIST_MESSAGES)
    def list_messages(self, call: Call) -> Page:
        """List the messages of a ticket."""
        return message_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.REQUEST_TASK, again=ticket_queries.get)
    def request_task(self, call: Call) -> dict[str, Any]:
        """Want something done for a ticket."""
        return task_operations.request(call.session, call.request, call.subject)

    @exposes(contract.CREATE_QUEUE, again=queue_queries.get)
    def create_queue(self, call: Call) -> models.Queue:
        """Create a queue."""
        return queue_operations.create(call.session, call.request, call.subject)

    @exposes(contract.GET_QUEUE)
    def get_queue(self, call: Call) -> models.Queue:
        """Read a queue."""
        return queue_queries.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_QUEUES)
    def list_queues(self, call: Call) -> Page:
        """List queues."""
        return queue_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.CHANGE_QUEUE, again=queue_queries.get)
    def change_queue(self, call: Call) -> models.Queue:
        """Change a queue."""
        return queue_operations.change(call.session, call.request, call.subject)

    @exposes(contract.ADD_QUEUE_MEMBER, again=queue_queries.get)
    def add_queue_member(self, call: Call) -> models.Queue:
        """Add a member."""
        return queue_operations.add_member(call.session, call.request, call.subject)

    @exposes(contract.REMOVE_QUEUE_MEMBER, again=queue_queries.get)
    def remove_queue_member(self, call: Call) -> dict[str, Any]:
        """Remove a member."""
        return queue_operations.remove_member(call.session, call.request, call.subject)

    @hears(customers.CUSTOMER_CREATED)
    def customer_created(self, event: Heard) -> None:
        """Follow a new customer."""
        _follow_customer(event)

    @hears(customers.CUSTOMER_UPDATED)
    def customer_updated(self, event: Heard) -> None:
        """Follow a changed customer."""
        _follow_customer(event)

    @hears(customers.CUSTOMER_SNAPSHOT)
    def customer_retold(self, event: Heard) -> None:
        """Follow a customer that was announced again."""
        _follow_customer(event)


def _follow_customer(event: Heard) -> None:
    customer_ref_operations.follow(event.session, event.envelope.subject, event.envelope.entityversion, event.data)


SERVICE, SETTINGS, BASE = TicketsService, TicketsSettings, models.Base
