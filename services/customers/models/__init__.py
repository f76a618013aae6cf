"""Tables of the customers service."""

from services.customers.models.activity import Activity
from services.customers.models.base import Base
from services.customers.models.contact import Contact
from services.customers.models.customer import Customer
from services.customers.models.history import FieldChange
from services.customers.models.inbound import ExternalRecord, WantedTask
from services.customers.models.task import Task

__all__ = ["Activity", "Base", "Contact", "Customer", "ExternalRecord", "FieldChange", "Task", "WantedTask"]
