"""The door of the customers service."""

from __future__ import annotations

from typing import Any

from chassis.entrypoints import Call, Heard, Service, exposes, hears
from chassis.paging import Page
from chassis.snapshot import SnapshotSource
from contracts import customers as contract
from contracts import integrations, tickets
from contracts.schema import Packed
from services.customers import models
from services.customers.operations import activities as activity_operations
from services.customers.operations import contacts as contact_operations
from services.customers.operations import customers as customer_operations
from services.customers.operations import inbound
from services.customers.operations import tasks as task_operations
from services.customers.queries import activities as activity_queries
from services.customers.queries import contacts as contact_queries
from services.customers.queries import customers as customer_queries
from services.customers.queries import tasks as task_queries
from services.customers.settings import CustomersSettings


def _region(call: Call) -> str:
    return call.runtime.settings.default_region


class CustomersService(Service):
    """Answers for customers, contacts, tasks and activities; follows what other systems say of them."""

    name = contract.SERVICE
    snapshots = (SnapshotSource(contract.CUSTOMER_SNAPSHOT, customer_queries.snapshot),
                 SnapshotSource(contract.CONTACT_SNAPSHOT, contact_queries.snapshot),
                 SnapshotSource(contract.TASK_SNAPSHOT, task_queries.snapshot))

    @exposes(contract.CREATE_CUSTOMER, again=customer_queries.get)
    def create_customer(self, call: Call) -> Packed:
        """Create a customer."""
        return customer_operations.create(call.session, call.request, call.subject, _region(call))

    @exposes(contract.GET_CUSTOMER)
    def get_customer(self, call: Call) -> models.Customer:
        """Read a customer."""
        return customer_queries.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_CUSTOMERS)
    def list_customers(self, call: Call) -> Page:
        """List customers."""
        return customer_queries.listed(call.session, call.request, call.subject, call.runtime.codec, _region(call))

    @exposes(contract.CHANGE_CUSTOMER, again=customer_queries.get)
    def change_customer(self, call: Call) -> models.Customer:
        """Change a customer."""
        return customer_operations.change(call.session, call.request, call.subject, _region(call))

    @exposes(contract.CREATE_CONTACT, again=contact_queries.get, unmasked=contact_queries.unmasked)
    def create_contact(self, call: Call) -> models.Contact:
        """Add a contact."""
        return contact_operations.create(call.session, call.request, call.subject, _region(call))

    @exposes(contract.GET_CONTACT, unmasked=contact_queries.unmasked)
    def get_contact(self, call: Call) -> models.Contact:
        """Read a contact."""
        return contact_queries.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_CONTACTS, unmasked=contact_queries.unmasked)
    def list_contacts(self, call: Call) -> Page:
        """List contacts."""
        return contact_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.LIST_CONTACTS_OF_CUSTOMER, unmasked=contact_queries.unmasked)
    def list_contacts_of_customer(self, call: Call) -> Page:
        """List the contacts of a customer."""
        return contact_queries.of_customer(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.CHANGE_CONTACT, again=contact_queries.get, unmasked=contact_queries.unmasked)
    def change_contact(self, call: Call) -> models.Contact:
        """Change a contact."""
        return contact_operations.change(call.session, call.request, call.subject, _region(call))

    @exposes(contract.CREATE_TASK, again=task_queries.get)
    def create_task(self, call: Call) -> models.Task:
        """Create a task."""
        return task_operations.create(call.session, call.request, call.subject)

    @exposes(contract.GET_TASK)
    def get_task(self, call: Call) -> models.Task:
        """Read a task."""
        return task_queries.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_TASKS)
    def list_tasks(self, call: Call) -> Page:
        """List tasks."""
        return task_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.LIST_TASKS_OF_CUSTOMER)
    def list_tasks_of_customer(self, call: Call) -> Page:
        """List the tasks of a customer."""
        return task_queries.of_customer(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.CHANGE_TASK, again=task_queries.get)
    def change_task(self, call: Call) -> models.Task:
        """Change a task."""
        return task_operations.change(call.session, call.request, call.subject)

    @exposes(contract.COMPLETE_TASK, again=task_queries.get)
    def complete_task(self, call: Call) -> models.Task:
        """Complete a task."""
        return task_operations.complete(call.session, call.request, call.subject)

    @exposes(contract.REOPEN_TASK, again=task_queries.get)
    def reopen_task(self, call: Call) -> models.Task:
        """Reopen a task."""
        return task_operations.reopen(call.session, call.request, call.subject)

    @exposes(contract.CANCEL_TASK, again=task_queries.get)
    def cancel_task(self, call: Call) -> models.Task:
        """Cancel a task."""
        return task_operations.cancel(call.session, call.request, call.subject)

    @exposes(contract.DELETE_TASK)
    def delete_task(self, call: Call) -> dict[str, Any]:
        """Remove a task."""
        return task_operations.remove(call.session, call.request, call.subject)

    @exposes(contract.LOG_ACTIVITY, again=activity_queries.get)
    def log_activity(self, call: Call) -> models.Activity:
        """Log what was done."""
        return activity_operations.log(call.session, call.request, call.subject)

    @exposes(contract.GET_ACTIVITY)
    def get_activity(self, call: Call) -> models.Activity:
        """Read an activity."""
        return activity_queries.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_ACTIVITIES)
    def list_activities(self, call: Call) -> Page:
        """List activities."""
        return activity_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.LIST_ACTIVITIES_OF_CUSTOMER)
    def list_activities_of_customer(self, call: Call) -> Page:
        """List what people did about a customer."""
        return activity_queries.of_customer(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.GET_TIMELINE)
    def get_timeline(self, call: Call) -> Page:
        """Read the timeline of a customer."""
        return activity_queries.timeline(call.session, call.request, call.subject, call.runtime.codec)

    @hears(integrations.EXTERNAL_CHANGED)
    def external_changed(self, event: Heard) -> None:
        """Follow a task, contact or customer of another system; what else a target owns is not ours."""
        inbound.follow(event.session, event.data, event.envelope.entityversion)

    @hears(tickets.TASK_REQUESTED)
    def task_requested_by_tickets(self, event: Heard) -> None:
        """Make the task that is wanted for a ticket."""
        inbound.want_task(event.session, event.data, event.envelope.service)


SERVICE, SETTINGS, BASE = CustomersService, CustomersSettings, models.Base
