"""Errors that cross the wire: the class and its fields arrive as they left, and nothing internal travels with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

_BY_CODE: dict[str, type[HubError]] = {}


class HubError(Exception):
    """Something the caller can act on.

    Attributes:
        code: stable identifier, also the last part of the problem document's `type`.
        status: the HTTP status that the gateway answers with.
        message: one sentence in English for a person; names the thing and what happened to it.
        fields: JSON-ready details that a program may act on (`{"sku": "A-1", "available": "3"}`).
        retry_after_s: seconds after which the same call may succeed, or None when repeating cannot help.
    """

    code: ClassVar[str] = "hub_error"
    status: ClassVar[int] = 500

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        known = _BY_CODE.setdefault(cls.code, cls)
        if known is not cls:
            raise TypeError(f"{cls.__name__} and {known.__name__} both claim the error code {cls.code!r}")

    def __init__(self, message: str = "", *, retry_after_s: float | None = None, **fields: Any) -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0].rstrip(".")
        self.retry_after_s = retry_after_s
        self.fields = fields
        super().__init__(self.message)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON-ready form that `from_wire` turns back into the same class."""
        return {"code": self.code, "message": self.message, "fields": self.fields, "retry_after_s": self.retry_after_s}

    @staticmethod
    def from_wire(data: Mapping[str, Any]) -> HubError:
        """Return the error that `to_wire` described.

        A code this side does not know yet (a newer service) becomes an `InternalError` that keeps the text.
        """
        cls = _BY_CODE.get(str(data.get("code")), InternalError)
        fields = data.get("fields")
        error = cls(str(data.get("message", "")), retry_after_s=data.get("retry_after_s"))
        error.fields = dict(fields) if isinstance(fields, Mapping) else {}
        return error


class BadRequest(HubError):
    """The request cannot be understood."""

    code, status = "bad_request", 400


class InvalidCursor(BadRequest):
    """The page cursor is not one that this hub gave out for this list."""

    code = "invalid_cursor"


class Unauthenticated(HubError):
    """The caller is not known."""

    code, status = "unauthenticated", 401


class Forbidden(HubError):
    """The caller is known and may not do this."""

    code, status = "forbidden", 403


class NotFound(HubError):
    """There is no such record, or it is out of the caller's sight."""

    code, status = "not_found", 404


class Conflict(HubError):
    """The record's present state does not allow this."""

    code, status = "conflict", 409


class AlreadyExists(Conflict):
    """A record with this unique value exists."""

    code = "already_exists"


class InvalidTransition(Conflict):
    """The record is not in a state from which this step leads on."""

    code = "invalid_transition"


class InsufficientStock(Conflict):
    """A line asks for more than is available; nothing was reserved."""

    code = "insufficient_stock"


class DuplicateInFlight(Conflict):
    """The same request is being worked on; ask again in a moment."""

    code = "duplicate_in_flight"


class StaleVersion(HubError):
    """The record has changed since the caller read it."""

    code, status = "stale_version", 412


class Invalid(HubError):
    """One or more fields were refused; `errors` names each.

    Raised with `errors=[{"pointer": "/lines/0/sku", "code": "unknown", "message": "..."}]` (RFC 6901 pointers).
    """

    code, status = "invalid", 422

    @classmethod
    def of(cls, pointer: str, code: str, message: str) -> Invalid:
        """Return the error for a single refused field."""
        return cls("The request holds values that were refused", errors=[_refusal(pointer, code, message)])


class Refusals:
    """Collects refused fields, so that a caller hears of all of them at once.

    >>> refusals = Refusals()
    >>> with refusals.noted():
    ...     raise Invalid.of("/phone", "invalid", "Is not a phone number.")
    >>> refusals.settle()
    Traceback (most recent call last):
    contracts.errors.Invalid: The request holds values that were refused
    """

    def __init__(self) -> None:
        self.found: list[dict[str, str]] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Go on after an `Invalid`, and remember what it refused."""
        try:
            yield
        except Invalid as error:
            self.found += error.fields["errors"]

    def settle(self) -> None:
        """Raise `Invalid` with everything refused so far, if anything was."""
        if self.found:
            raise Invalid("The request holds values that were refused", errors=self.found)


def _refusal(pointer: str, code: str, message: str) -> dict[str, str]:
    return {"pointer": pointer, "code": code, "message": message}


class CustomerNotKnown(Conflict):
    """The room has not heard of this customer within your reach yet; one created a moment ago will be known shortly.

    A conflict with `retry_after_s` and not `invalid`: the request is right as it stands and the same call may succeed
    in a second, whereas `invalid` tells a client to correct it. A customer out of the caller's reach answers the same.
    """

    code = "customer_not_known"
    SENTENCE = "No such customer is known here yet; if it was created a moment ago, ask again."
    RETRY_S = 1.0
    """Seconds after which a customer that was created a moment ago is surely known, while the broker is up."""

    @classmethod
    def of(cls, customer_id: str) -> CustomerNotKnown:
        """Return the error for a request that names the customer in `/customer_id`."""
        return cls(cls.SENTENCE, retry_after_s=cls.RETRY_S, customer_id=customer_id,
                   errors=[_refusal("/customer_id", cls.code, cls.SENTENCE)])


class IdempotencyMismatch(HubError):
    """This idempotency key was used before with another body."""

    code, status = "idempotency_mismatch", 422


class PreconditionRequired(HubError):
    """The request must say which version it changes."""

    code, status = "precondition_required", 428


class TooManyRequests(HubError):
    """The caller has used up its share for now."""

    code, status = "too_many_requests", 429


class InternalError(HubError):
    """Something went wrong on our side; the correlation id finds it in the log."""

    code, status = "internal_error", 500


class Unavailable(HubError):
    """A part that this request needs is away; repeat it, a change with its key.

    Most likely nothing was changed. Nobody can be sure: the connection may have gone while a commit was confirmed.
    """

    code, status = "unavailable", 503


class DeadlineExceeded(HubError):
    """The answer did not come in time; a change may have been made, so repeat with the same idempotency key."""

    code, status = "deadline_exceeded", 504
