"""The door of the customers service."""

from __future__ import annotations

from chassis.entrypoints import Call, Service, exposes
from chassis.paging import Page
from chassis.snapshot import SnapshotSource
from contracts import customers as contract
from contracts.schema import Packed
from services.customers import models
from services.customers.operations import contacts as contact_operations
from services.customers.operations import customers as customer_operations
from services.customers.queries import contacts as contact_queries
from services.customers.queries import customers as customer_queries
from services.customers.settings import CustomersSettings


def _region(call: Call) -> str:
    return call.runtime.settings.default_region


class CustomersService(Service):
    """Answers for customers and contacts."""

    name = contract.SERVICE
    snapshots = (SnapshotSource(contract.CUSTOMER_SNAPSHOT, customer_queries.snapshot),)

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

    @exposes(contract.CREATE_CONTACT, again=contact_queries.get)
    def create_contact(self, call: Call) -> models.Contact:
        """Add a contact."""
        return contact_operations.create(call.session, call.request, call.subject, _region(call))

    @exposes(contract.GET_CONTACT)
    def get_contact(self, call: Call) -> models.Contact:
        """Read a contact."""
        return contact_queries.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_CONTACTS)
    def list_contacts(self, call: Call) -> Page:
        """List contacts."""
        return contact_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.LIST_CONTACTS_OF_CUSTOMER)
    def list_contacts_of_customer(self, call: Call) -> Page:
        """List the contacts of a customer."""
        return contact_queries.of_customer(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.CHANGE_CONTACT, again=contact_queries.get)
    def change_contact(self, call: Call) -> models.Contact:
        """Change a contact."""
        return contact_operations.change(call.session, call.request, call.subject, _region(call))


SERVICE, SETTINGS, BASE = CustomersService, CustomersSettings, models.Base
