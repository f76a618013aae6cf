"""An operation: one thing that a service can be asked to do, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.errors import HubError
from contracts.schema import Record, Request

UNMASK = "unmask"
"""The action that lifts the masks off a record's sensitive values."""


@dataclass(frozen=True)
class Permission:
    """A right to do `action` to records of `entity`; who holds it, and how deep, is for the identity service to say."""

    entity: str
    action: str


@dataclass(frozen=True)
class Operation:
    """One remote procedure of a service.

    Attributes:
        service: the room that answers (`customers`).
        name: the method on the room's service class (`create_customer`).
        request: schema of what is asked; unknown fields are refused.
        response: schema of the answer.
        permission: the right that the subject must hold at some depth; None admits every authenticated subject.
        errors: what it may answer beside the errors that any call can meet.
        mutates: whether it changes anything. A mutating call runs in a write transaction with its idempotency row.
        internal: only the gateway itself may call it, on nobody's behalf.
        unsaved: the answer holds a secret shown once; it is never stored for a replay.
        audited: the kind of record that its entry in the audit trail is about; where it is empty, only a refusal is
            written there.
        summary: one line for the API document.
        timeout_s: seconds that the caller waits, and after which the request is dropped unrun.
    """

    service: str
    name: str
    request: type[Request]
    response: type[Record]
    permission: Permission | None = None
    errors: tuple[type[HubError], ...] = ()
    mutates: bool = True
    internal: bool = False
    unsaved: bool = False
    audited: str = ""
    summary: str = ""
    timeout_s: float = 5.0

    @property
    def routing_key(self) -> str:
        """The AMQP routing key of its requests: `customers.create_customer`."""
        return f"{self.service}.{self.name}"
