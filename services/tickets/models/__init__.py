"""Tables of the tickets service."""

from services.tickets.models.base import Base
from services.tickets.models.customer_ref import CustomerRef
from services.tickets.models.history import FieldChange
from services.tickets.models.message import Message
from services.tickets.models.queue import Queue, QueueMember
from services.tickets.models.ticket import Ticket

__all__ = ["Base", "CustomerRef", "FieldChange", "Message", "Queue", "QueueMember", "Ticket"]
