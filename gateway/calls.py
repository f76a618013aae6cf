"""What the gateway needs of a way to the services. `chassis.calling` is that way; tests have their own."""

from __future__ import annotations

from typing import Any, Protocol

from chassis.context import Subject
from contracts.operation import Operation

GATEWAY = Subject.service("gateway")
"""Who asks when nobody has signed in yet."""


class Answer(Protocol):
    """What a call brought back."""

    @property
    def value(self) -> dict[str, Any]:
        """The operation's answer, as Python values."""
        ...

    @property
    def document(self) -> dict[str, Any]:
        """The operation's answer JSON-ready and in clear, as a client is told it."""
        ...

    @property
    def replayed(self) -> bool:
        """Whether it is the kept answer to an earlier request with the same key."""
        ...


class Calls(Protocol):
    """Asks services."""

    def call(self, operation: Operation, request: dict[str, Any], *, subject: Subject, key: str | None = None,
             request_id: str, traceparent: str = "", timeout_s: float | None = None) -> Answer:
        """Return the answer, or raise the `HubError` that came instead."""
        ...
