"""What the customers service is asked, answers and announces: who a company deals with, and what is done about them.

Consent. No entry of a channel means that nobody said yes: nothing may be sent there. A person sets it through the API.
What another system reports is taken over, except that a refusal wins: a refusal always applies, a grant only where the
hub holds no refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from contracts import errors, masks, tasks
from contracts.event import EventType
from contracts.inbound import ExternalRefusal
from contracts.operation import Operation, Permission
from contracts.schema import (
    ById,
    Empty,
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
CHANNELS = ("email", "phone", "wechat")
CONSENT = ("granted", "refused")


class Consent(Record):
    """What was said of one channel, when, and where: `hub`, or the name of the connection that told it."""

    state = fields.String(required=True, validate=OneOf(*CONSENT))
    at = Timestamp(required=True)
    source = fields.String(required=True)


def _consent() -> fields.Dict:
    return fields.Dict(keys=fields.String(), values=fields.Nested(Consent), metadata={
        "description": "By channel; a channel that is absent has not been granted."})


def _consent_asked() -> Entries:
    return Entries(keys=fields.String(validate=OneOf(*CHANNELS)), values=fields.String(validate=OneOf(*CONSENT)),
                   metadata={"description": "Channel (`email`, `phone`, `wechat`) to `granted` or `refused`; "
                                            "a channel that is absent stays."})


def _text(most: int) -> validate.And:
    return validate.And(validate.Length(max=most), masks.Unmasked())


class Address(Record):
    """Where goods and letters go."""

    street = Sensitive(load_default="", validate=validate.Length(max=300), mask=masks.whole)
    city = Text(most=100, load_default="")
    postal_code = Text(most=20, load_default="")
    country = fields.String(load_default="CN",
                            validate=validate.Regexp(r"^[A-Z]{2}\Z", error="Is not an ISO 3166 code."))


class AddressAsked(Address):
    """Where goods and letters go, as a caller says it."""

    street = Sensitive(load_default="", validate=_text(300))

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
    phone = Sensitive(allow_none=True, validate=_text(40))
    email = Sensitive(allow_none=True, validate=_text(254))
    wechat_id = Sensitive(allow_none=True, validate=_text(64))
    address = fields.Nested(AddressAsked, allow_none=True)
    invoice = fields.Nested(InvoiceAsked, allow_none=True)
    source = Text(most=60)
    level = Text(most=30)
    tags = fields.List(Text(least=1, most=40), validate=validate.Length(max=50))
    preferences = Entries(keys=Text(least=1, most=60), values=Text(most=500), validate=validate.Length(max=50))
    next_follow_up_at = Timestamp(allow_none=True)
    team_id = Identifier(allow_none=True)
    consent = _consent_asked()


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
    """Filters of the list; phone and email match exactly, after normalisation, and only those records whose phone and
    email you may see: that takes the right `customer:unmask`."""

    q = Text(most=100, metadata={"description": "Start of the name."})
    phone = Sensitive(validate=validate.Length(max=40))
    email = Sensitive(validate=validate.Length(max=254))
    lifecycle = fields.String(validate=OneOf(*LIFECYCLE))
    owner_id = Identifier()
    follow_up_before = Timestamp(metadata={"description": "Only those whose `next_follow_up_at` is earlier."})
    sort = fields.String(validate=OneOf("created_at", "-created_at", "name", "-name", "updated_at", "-updated_at",
                                        "next_follow_up_at", "-next_follow_up_at"),
                         metadata={"description": "Default `-created_at`; with `q` it is `name`, the default,"
                                                  " or `-name`, case-folded; with `follow_up_before` it is"
                                                  " `next_follow_up_at`, the default, or `-next_follow_up_at`."})


class Customer(Record):
    """A customer. Without the right `customer:unmask` to it, phone (`+86138****5678`), email (`z***@example.com`),
    WeChat id and street are masked."""

    masked_as = "customer"

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    name = fields.String(required=True)
    kind = fields.String(required=True)
    phone = Sensitive(required=True, allow_none=True, mask=masks.phone)
    email = Sensitive(required=True, allow_none=True, mask=masks.email)
    wechat_id = Sensitive(required=True, allow_none=True, mask=masks.account)
    address = fields.Nested(Address, allow_none=True)
    invoice = fields.Nested(Invoice, allow_none=True)
    source = fields.String()
    level = fields.String()
    lifecycle = fields.String(required=True)
    tags = fields.List(fields.String())
    preferences = fields.Dict(keys=fields.String(), values=fields.String())
    next_follow_up_at = Timestamp(allow_none=True)
    consent = _consent()
    owner_id = fields.String(required=True, allow_none=True)
    team_id = fields.String(allow_none=True)
    created_by = fields.String(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class CustomerUpdated(Customer):
    """A customer as it is now, and which fields changed."""

    changed = fields.List(fields.String(), required=True)


class _ContactFields(Request):
    phone = Sensitive(allow_none=True, validate=_text(40))
    email = Sensitive(allow_none=True, validate=_text(254))
    role = Text(most=100)
    primary = fields.Boolean()
    consent = _consent_asked()


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
    """The contacts of the customers that the caller may see. Searching by email takes the right `contact:unmask`."""

    customer_id = Identifier()
    email = Sensitive(validate=validate.Length(max=254))


class ContactsOfCustomer(PageRequest):
    """The contacts of the customer at the path. Searching by email takes the right `contact:unmask`."""

    id = Identifier(required=True)
    email = Sensitive(validate=validate.Length(max=254))


class Contact(Record):
    """A person at a customer. At most one of a customer's contacts is primary. Without the right `contact:unmask` to
    the customer, phone and email are masked."""

    masked_as = "contact"
    reached_through = "customer"

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    customer_id = fields.String(required=True)
    name = fields.String(required=True)
    phone = Sensitive(required=True, allow_none=True, mask=masks.phone)
    email = Sensitive(required=True, allow_none=True, mask=masks.email)
    role = fields.String()
    primary = fields.Boolean(required=True)
    consent = _consent()
    created_by = fields.String(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class ConsentChanged(Record):
    """Somebody granted or refused the channels in `changed`; `customer` or `contact` is the record as it is now."""

    entity = fields.String(required=True, validate=OneOf("customer", "contact"))
    changed = fields.List(fields.String(validate=OneOf(*CHANNELS)), required=True)
    customer = fields.Nested(Customer, required=True, allow_none=True)
    contact = fields.Nested(Contact, required=True, allow_none=True)


class ExternalConsent(Record):
    """What another system says of one channel; `at` is when it was said there, if that is known."""

    state = fields.String(required=True, validate=OneOf(*CONSENT))
    at = Timestamp(load_default=None, allow_none=True)


class ExternalContact(Record):
    """What customers takes from an `external.changed` whose entity is `contact` or `customer`."""

    consent = fields.Dict(keys=fields.String(validate=OneOf(*CHANNELS)), values=fields.Nested(ExternalConsent),
                          load_default=dict)


READ = Permission("customer", "read")
CREATE = Permission("customer", "create")
CHANGE = Permission("customer", "change")
TRANSFER = Permission("customer", "transfer")
"""The right to say whose customer it is. At depth `own` it reaches nobody else."""

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

TASK_READ = Permission("task", "read")
TASK_CREATE = Permission("task", "create")
TASK_CHANGE = Permission("task", "change")
TASK_DELETE = Permission("task", "delete")
TASK_ASSIGN = Permission("task", "assign")
"""The right to say whose task it is. At depth `own` it reaches nobody else."""
ACTIVITY_READ = Permission("activity", "read")
ACTIVITY_CREATE = Permission("activity", "create")

_STEP_REFUSALS = (errors.NotFound, errors.StaleVersion, errors.InvalidTransition)
_LIST_REFUSALS = (errors.InvalidCursor, errors.NotFound)

CREATE_TASK = Operation(SERVICE, "create_task", tasks.TaskCreate, tasks.Task, TASK_CREATE,
                        (errors.NotFound, errors.Invalid), summary="Create a task")
GET_TASK = Operation(SERVICE, "get_task", ById, tasks.Task, TASK_READ, (errors.NotFound,), mutates=False,
                     summary="Read a task")
LIST_TASKS = Operation(SERVICE, "list_tasks", tasks.TaskList, page_of(tasks.Task), TASK_READ, (errors.InvalidCursor,),
                       mutates=False, summary="List the tasks within your reach")
LIST_TASKS_OF_CUSTOMER = Operation(SERVICE, "list_tasks_of_customer", tasks.TasksOfCustomer, page_of(tasks.Task),
                                   TASK_READ, _LIST_REFUSALS, mutates=False, summary="List the tasks of a customer")
CHANGE_TASK = Operation(SERVICE, "change_task", tasks.TaskChange, tasks.Task, TASK_CHANGE, _CHANGE_REFUSALS,
                        summary="Change a task")
COMPLETE_TASK = Operation(SERVICE, "complete_task", tasks.TaskStep, tasks.Task, TASK_CHANGE, _STEP_REFUSALS,
                          summary="Complete a task")
REOPEN_TASK = Operation(SERVICE, "reopen_task", tasks.TaskStep, tasks.Task, TASK_CHANGE, _STEP_REFUSALS,
                        summary="Reopen a task that is done")
CANCEL_TASK = Operation(SERVICE, "cancel_task", tasks.TaskCancel, tasks.Task, TASK_CHANGE, _STEP_REFUSALS,
                        summary="Cancel a task")
DELETE_TASK = Operation(SERVICE, "delete_task", tasks.TaskDelete, Empty, TASK_DELETE,
                        (errors.NotFound, errors.StaleVersion), summary="Remove a task")

LOG_ACTIVITY = Operation(SERVICE, "log_activity", tasks.ActivityLog, tasks.Activity, ACTIVITY_CREATE,
                         (errors.NotFound, errors.Invalid), summary="Log what was done")
GET_ACTIVITY = Operation(SERVICE, "get_activity", ById, tasks.Activity, ACTIVITY_READ, (errors.NotFound,),
                         mutates=False, summary="Read an activity")
LIST_ACTIVITIES = Operation(SERVICE, "list_activities", tasks.ActivityList, page_of(tasks.Activity), ACTIVITY_READ,
                            (errors.InvalidCursor,), mutates=False, summary="List the activities within your reach")
LIST_ACTIVITIES_OF_CUSTOMER = Operation(
    SERVICE, "list_activities_of_customer", tasks.ActivitiesOfCustomer, page_of(tasks.Activity), ACTIVITY_READ,
    _LIST_REFUSALS, mutates=False, summary="List what people did about a customer")
GET_TIMELINE = Operation(SERVICE, "get_timeline", tasks.Timeline, page_of(tasks.Activity), ACTIVITY_READ,
                         _LIST_REFUSALS, mutates=False, summary="Read the timeline of a customer")

CUSTOMER_CREATED = EventType(SERVICE, "customer.created", "customer", Customer, schemaversion=2)
CUSTOMER_UPDATED = EventType(SERVICE, "customer.updated", "customer", CustomerUpdated, schemaversion=2)
CUSTOMER_SNAPSHOT = EventType(SERVICE, "customer.snapshot", "customer", Customer, schemaversion=2)
CONTACT_CREATED = EventType(SERVICE, "contact.created", "contact", Contact, schemaversion=2)
CONTACT_UPDATED = EventType(SERVICE, "contact.updated", "contact", Contact, schemaversion=2)
CONTACT_SNAPSHOT = EventType(SERVICE, "contact.snapshot", "contact", Contact)
CONSENT_CHANGED = EventType(SERVICE, "consent.changed", "consent", ConsentChanged, expects_listener=False)
"""Beside `contact.updated` or `customer.updated`, for whoever cares for this alone; its subject is the record's id."""

TASK_CREATED = EventType(SERVICE, "task.created", "task", tasks.TaskChanged)
TASK_UPDATED = EventType(SERVICE, "task.updated", "task", tasks.TaskChanged)
TASK_COMPLETED = EventType(SERVICE, "task.completed", "task", tasks.TaskChanged)
TASK_REOPENED = EventType(SERVICE, "task.reopened", "task", tasks.TaskChanged)
TASK_CANCELLED = EventType(SERVICE, "task.cancelled", "task", tasks.TaskChanged)
TASK_DELETED = EventType(SERVICE, "task.deleted", "task", tasks.TaskChanged)
"""The task as it last was; its version is one above that."""
TASK_SNAPSHOT = EventType(SERVICE, "task.snapshot", "task", tasks.Task)
ACTIVITY_LOGGED = EventType(SERVICE, "activity.logged", "activity", tasks.Activity, expects_listener=False)
EXTERNAL_REFUSED = EventType(SERVICE, "external.refused", "external", ExternalRefusal)
"""An inbound change of a task, contact or customer that the rules here do not allow."""

OPERATIONS = (CREATE_CUSTOMER, GET_CUSTOMER, LIST_CUSTOMERS, CHANGE_CUSTOMER,
              CREATE_CONTACT, GET_CONTACT, LIST_CONTACTS, LIST_CONTACTS_OF_CUSTOMER, CHANGE_CONTACT,
              CREATE_TASK, GET_TASK, LIST_TASKS, LIST_TASKS_OF_CUSTOMER, CHANGE_TASK, COMPLETE_TASK, REOPEN_TASK,
              CANCEL_TASK, DELETE_TASK, LOG_ACTIVITY, GET_ACTIVITY, LIST_ACTIVITIES, LIST_ACTIVITIES_OF_CUSTOMER,
              GET_TIMELINE)
EVENTS = (CUSTOMER_CREATED, CUSTOMER_UPDATED, CUSTOMER_SNAPSHOT, CONTACT_CREATED, CONTACT_UPDATED, CONTACT_SNAPSHOT,
          CONSENT_CHANGED, TASK_CREATED, TASK_UPDATED, TASK_COMPLETED, TASK_REOPENED, TASK_CANCELLED, TASK_DELETED,
          TASK_SNAPSHOT, ACTIVITY_LOGGED, EXTERNAL_REFUSED)
