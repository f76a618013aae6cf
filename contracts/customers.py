"""What the customers service is asked, answers and announces: who a company deals with, and how to reach them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from contracts import errors
from contracts.event import EventType
from contracts.operation import Operation, Permission
from contracts.schema import (
    ById,
    Entries,
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

SERVICE = "customers"
KINDS = ("person", "company")
LIFECYCLE = ("prospect", "active", "dormant", "ended")
INVOICE_TYPES = ("general", "special", "electronic")
REACHED_BY = ("phone", "email", "wechat_id")
"""A customer has at least one of these, so that somebody can answer."""


class Address(Record):
    """Where goods and letters go."""

    street = Sensitive(load_default="", validate=validate.Length(max=300))
    city = Text(most=100, load_default="")
    postal_code = Text(most=20, load_default="")
    country = fields.String(load_default="CN",
                            validate=validate.Regexp(r"^[A-Z]{2}\Z", error="Is not an ISO 3166 code."))


class AddressAsked(Address):
    """Where goods and letters go, as a caller says it."""

    class Meta(Request.Meta):
        pass


class Invoice(Record):
    """How the customer is invoiced (发票抬头)."""

    title = Text(most=200, load_default="")
    tax_number = Text(most=40, load_default="")
    type = fields.String(load_default="general", validate=OneOf(*INVOICE_TYPES))


class InvoiceAsked(Invoice):
    """How the customer is invoiced (发票抬头), as a caller says it."""

    class Meta(Request.Meta):
        pass


class _CustomerFields(Request):
    kind = fields.String(validate=OneOf(*KINDS))
    phone = Sensitive(allow_none=True, validate=validate.Length(max=40))
    email = Sensitive(allow_none=True, validate=validate.Length(max=254))
    wechat_id = Sensitive(allow_none=True, validate=validate.Length(max=64))
    address = fields.Nested(AddressAsked, allow_none=True)
    invoice = fields.Nested(InvoiceAsked, allow_none=True)
    source = Text(most=60)
    level = Text(most=30)
    tags = fields.List(Text(least=1, most=40), validate=validate.Length(max=50))
    preferences = Entries(keys=Text(least=1, most=60), values=Text(most=500), validate=validate.Length(max=50))
    next_follow_up_at = Timestamp(allow_none=True)
    team_id = Identifier(allow_none=True)


class CustomerCreate(_CustomerFields):
    """A new customer: a name and at least one of `phone`, `email` and `wechat_id` suffice."""

    at_least_one_of = REACHED_BY
    """Said in the API document as well."""

    name = Text(required=True, least=1, most=200)

    @validates_schema
    def reachable(self, data: Mapping[str, Any], **_: Any) -> None:
        """Ask for one of phone, email and WeChat id."""
        if not any(data.get(field) for field in self.at_least_one_of):
            raise ValidationError("Give at least one of phone, email and wechat_id.")


class CustomerChanges(_CustomerFields):
    """The fields to change; what is absent stays."""

    name = Text(least=1, most=200)
    lifecycle = fields.String(validate=OneOf(*LIFECYCLE))
    lifecycle_reason = Text(most=300)
    owner_id = Identifier()


class CustomerChange(Request):
    """A change to the customer as the caller last read it."""

    id = Identifier(required=True)
    expected_version = fields.Integer(required=True, strict=True)
    changes = fields.Nested(CustomerChanges, required=True)


class CustomerList(PageRequest):
    """Filters of the list; phone and email match exactly, after normalisation."""

    q = Text(most=100, metadata={"description": "Start of the name."})
    phone = Sensitive(validate=validate.Length(max=40))
    email = Sensitive(validate=validate.Length(max=254))
    lifecycle = fields.String(validate=OneOf(*LIFECYCLE))
    owner_id = Identifier()
    sort = fields.String(load_default="-created_at", validate=OneOf("created_at", "-created_at", "name", "-name",
                                                                   "updated_at", "-updated_at"))


class Customer(Record):
    """A customer."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    name = fields.String(required=True)
    kind = fields.String(required=True)
    phone = Sensitive(required=True, allow_none=True)
    email = Sensitive(required=True, allow_none=True)
    wechat_id = Sensitive(required=True, allow_none=True)
    address = fields.Nested(Address, allow_none=True)
    invoice = fields.Nested(Invoice, allow_none=True)
    source = fields.String()
    level = fields.String()
    lifecycle = fields.String(required=True)
    tags = fields.List(fields.String())
    preferences = fields.Dict(keys=fields.String(), values=fields.String())
    next_follow_up_at = Timestamp(allow_none=True)
    owner_id = fields.String(required=True, allow_none=True)
    team_id = fields.String(allow_none=True)
    created_by = fields.String(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class CustomerUpdated(Customer):
    """A customer as it is now, and which fields changed."""

    changed = fields.List(fields.String(), required=True)


class _ContactFields(Request):
    phone = Sensitive(allow_none=True, validate=validate.Length(max=40))
    email = Sensitive(allow_none=True, validate=validate.Length(max=254))
    role = Text(most=100)
    primary = fields.Boolean()


class ContactCreate(_ContactFields):
    """A person at a customer."""

    customer_id = Identifier(required=True)
    name = Text(required=True, least=1, most=200)


class ContactChanges(_ContactFields):
    """The fields to change; what is absent stays."""

    name = Text(least=1, most=200)


class ContactChange(Request):
    """A change to the contact as the caller last read it."""

    id = Identifier(required=True)
    expected_version = fields.Integer(required=True, strict=True)
    changes = fields.Nested(ContactChanges, required=True)


class ContactList(PageRequest):
    """The contacts of the customers that the caller may see."""

    customer_id = Identifier()
    email = Sensitive(validate=validate.Length(max=254))


class ContactsOfCustomer(PageRequest):
    """The contacts of the customer at the path."""

    id = Identifier(required=True)
    email = Sensitive(validate=validate.Length(max=254))


class Contact(Record):
    """A person at a customer. At most one of a customer's contacts is primary."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    customer_id = fields.String(required=True)
    name = fields.String(required=True)
    phone = Sensitive(required=True, allow_none=True)
    email = Sensitive(required=True, allow_none=True)
    role = fields.String()
    primary = fields.Boolean(required=True)
    created_by = fields.String(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


READ = Permission("customer", "read")
CREATE = Permission("customer", "create")
CHANGE = Permission("customer", "change")

_REFUSALS = (errors.Invalid,)
_CHANGE_REFUSALS = (errors.NotFound, errors.StaleVersion, errors.Invalid, errors.InvalidTransition)

CREATE_CUSTOMER = Operation(SERVICE, "create_customer", CustomerCreate, Customer, CREATE, _REFUSALS,
                            summary="Create a customer")
GET_CUSTOMER = Operation(SERVICE, "get_customer", ById, Customer, READ, (errors.NotFound,), mutates=False,
                         summary="Read a customer")
LIST_CUSTOMERS = Operation(SERVICE, "list_customers", CustomerList, page_of(Customer), READ, (errors.InvalidCursor,),
                           mutates=False, summary="List the customers within your reach")
CHANGE_CUSTOMER = Operation(SERVICE, "change_customer", CustomerChange, Customer, CHANGE, _CHANGE_REFUSALS,
                            summary="Change a customer")
CREATE_CONTACT = Operation(SERVICE, "create_contact", ContactCreate, Contact, CHANGE, (errors.NotFound, errors.Invalid),
                           summary="Add a contact to a customer")
GET_CONTACT = Operation(SERVICE, "get_contact", ById, Contact, READ, (errors.NotFound,), mutates=False,
                        summary="Read a contact")
LIST_CONTACTS = Operation(SERVICE, "list_contacts", ContactList, page_of(Contact), READ, (errors.InvalidCursor,),
                          mutates=False, summary="List contacts")
LIST_CONTACTS_OF_CUSTOMER = Operation(SERVICE, "list_contacts_of_customer", ContactsOfCustomer, page_of(Contact), READ,
                                      (errors.InvalidCursor, errors.NotFound), mutates=False,
                                      summary="List the contacts of a customer")
CHANGE_CONTACT = Operation(SERVICE, "change_contact", ContactChange, Contact, CHANGE, _CHANGE_REFUSALS,
                           summary="Change a contact")

CUSTOMER_CREATED = EventType(SERVICE, "customer.created", "customer", Customer)
CUSTOMER_UPDATED = EventType(SERVICE, "customer.updated", "customer", CustomerUpdated)
CUSTOMER_SNAPSHOT = EventType(SERVICE, "customer.snapshot", "customer", Customer)
CONTACT_CREATED = EventType(SERVICE, "contact.created", "contact", Contact, expects_listener=False)
CONTACT_UPDATED = EventType(SERVICE, "contact.updated", "contact", Contact, expects_listener=False)

OPERATIONS = (CREATE_CUSTOMER, GET_CUSTOMER, LIST_CUSTOMERS, CHANGE_CUSTOMER,
              CREATE_CONTACT, GET_CONTACT, LIST_CONTACTS, LIST_CONTACTS_OF_CUSTOMER, CHANGE_CONTACT)
EVENTS = (CUSTOMER_CREATED, CUSTOMER_UPDATED, CUSTOMER_SNAPSHOT, CONTACT_CREATED, CONTACT_UPDATED)
