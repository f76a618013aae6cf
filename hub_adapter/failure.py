"""How an adapter says that something went wrong.

The class of what it raises says what the engine does next, the text what happened and to whom. Whatever else an adapter
raises counts as a defect of the adapter: retried three times, then dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorClass(StrEnum):
    """What the engine does next about a failure."""

    TRANSIENT = "transient"
    """Nothing arrived, or the target is down: by the retry schedule."""
    AMBIGUOUS = "ambiguous"
    """Sent, and no answer: in doubt until a look-up tells."""
    RATE_LIMITED = "rate_limited"
    """The connection waits; no attempt is used up."""
    AUTH = "auth"
    """The credential was refused: one refresh, then the connection pauses for a person."""
    INVALID = "invalid"
    """This record is refused as it stands: dead at once, with the field."""
    ALREADY_EXISTS = "already_exists"
    """Look it up, adopt it, bind it, update it."""
    NOT_FOUND = "not_found"
    """The bound record is gone at the target."""
    VERSION_CONFLICT = "version_conflict"
    """Somebody else wrote in between: read again and merge."""
    DEPENDENCY_MISSING = "dependency_missing"
    """Another record has to be there first: blocked until it is."""
    GONE = "gone"
    """Not this record: the account, tenant or address. The connection pauses for a person."""
    ADAPTER_ERROR = "adapter_error"
    """The adapter itself failed, or the target answered against its own contract."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure as the engine keeps it. `message` may be shown to a person; it holds no secret and no body."""

    error_class: ErrorClass
    message: str
    retry_after_s: float | None = None
    field: str | None = None
    """JSON pointer into the canonical record ("/lines/1/sku"), where one field is to blame."""
    http_status: int | None = None
    dependency: str | None = None
    """The entity that has to be at the target first ("customer")."""


class AdapterError(Exception):
    """Base of all that an adapter raises on purpose."""

    error_class = ErrorClass.ADAPTER_ERROR

    def __init__(
        self,
        message: str,
        *,
        seconds: float | None = None,
        field: str | None = None,
        http_status: int | None = None,
        dependency: str | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = Failure(
            error_class=self.error_class,
            message=message,
            retry_after_s=seconds,
            field=field,
            http_status=http_status,
            dependency=dependency,
        )


class TryLater(AdapterError):
    """Nothing arrived, or the target is unwell."""

    error_class = ErrorClass.TRANSIENT


class InDoubt(AdapterError):
    """Sent, and the answer never came: it may have happened."""

    error_class = ErrorClass.AMBIGUOUS


class RateLimited(AdapterError):
    """The target asks for a pause of `seconds`, if it said so."""

    error_class = ErrorClass.RATE_LIMITED


class AuthRefused(AdapterError):
    """The target does not accept the credential, or the credential may not do this at all."""

    error_class = ErrorClass.AUTH


class Invalid(AdapterError):
    """The target refuses this record as it stands; `field` points at the culprit."""

    error_class = ErrorClass.INVALID


class AlreadyExists(AdapterError):
    """The key is taken and the adapter could not settle by itself which record has it."""

    error_class = ErrorClass.ALREADY_EXISTS


class NotFound(AdapterError):
    """The external id that we hold leads nowhere any more."""

    error_class = ErrorClass.NOT_FOUND


class TargetGone(AdapterError):
    """The account, tenant or address that this connection works with is gone for good."""

    error_class = ErrorClass.GONE


class VersionConflict(AdapterError):
    """The record at the target is newer than `expected_version`."""

    error_class = ErrorClass.VERSION_CONFLICT


class DependencyMissing(AdapterError):
    """`dependency` (an entity) of this record is not at the target yet."""

    error_class = ErrorClass.DEPENDENCY_MISSING


def failure_of(error: BaseException) -> Failure:
    """The usual `Adapter.classify`: what was raised on purpose tells its class, the rest is the adapter's defect."""
    if isinstance(error, AdapterError):
        return error.failure
    return Failure(error_class=ErrorClass.ADAPTER_ERROR, message=f"{type(error).__name__}: {error}"[:500])
