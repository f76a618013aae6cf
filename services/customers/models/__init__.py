"""Tables of the customers service."""

from services.customers.models.base import Base
from services.customers.models.contact import Contact
from services.customers.models.customer import Customer
from services.customers.models.history import FieldChange

__all__ = ["Base", "Contact", "Customer", "FieldChange"]
