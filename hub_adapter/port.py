"""What an adapter is: the calls it answers, what travels in them, and how it says that something went wrong.

What an adapter says about itself stands in `hub_adapter.spec`, and an error is told by raising one of the exceptions of
`hub_adapter.failure`; this module names both too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, runtime_checkable

from hub_adapter.failure import (
    AdapterError,
    AlreadyExists,
    AuthRefused,
    DependencyMissing,
    ErrorClass,
    Failure,
    InDoubt,
    Invalid,
    NotFound,
    RateLimited,
    TargetGone,
    TryLater,
    VersionConflict,
    failure_of,
)
from hub_adapter.spec import AT_LEAST_ONCE, EFFECTIVELY_ONCE, AdapterSpec, Capability, Json, Limits, guarantee

if TYPE_CHECKING:
    from hub_adapter.client import HttpSession

__all__ = [
    "AT_LEAST_ONCE",
    "EFFECTIVELY_ONCE",
    "Adapter",
    "AdapterBase",
    "AdapterError",
    "AdapterSpec",
    "AlreadyExists",
    "AuthRefused",
    "Capability",
    "Change",
    "CheckResult",
    "Context",
    "DependencyMissing",
    "ErrorClass",
    "Failure",
    "InDoubt",
    "Invalid",
    "Json",
    "Limits",
    "NotFound",
    "Page",
    "Problem",
    "RateLimited",
    "Refreshed",
    "Refreshing",
    "Remote",
    "TargetGone",
    "TryLater",
    "VersionConflict",
    "Write",
    "Written",
    "failure_of",
    "guarantee",
]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the engine lends to one call. Valid for that call only.

    Args:
        http: session with the connection's limits; all traffic goes through it.
        secrets: the connection's decrypted credential.
        config: the connection's settings, valid against `AdapterSpec.config_schema`.
        clock: now, in UTC; adapters ask no other clock.
        dry_run: make no call that changes anything; the session refuses one too.
        deadline: when this call has to be over (UTC); always before the lease of the delivery ends.
    """

    http: HttpSession
    secrets: Mapping[str, str]
    config: Json
    clock: Callable[[], datetime]
    deadline: datetime
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Write:
    """One record to bring to the target, as it should stand there afterwards.

    Args:
        local_id: our id, the same for ever; the look-up key where the target can keep it.
        external_id: theirs, once bound.
        body: the canonical record (or what a mapping made of it).
        idempotency_key: the same for every attempt of this change.
        expected_version: what `Written.remote_version` said last; for targets with `conditional_write`.
        source_version: our version of the record.
        references: entity → external id of bound records that this one points at ({"customer": "17"}); "account" is
            the account of the person it is assigned to, for the entities that `AdapterSpec.accounts` names.
    """

    local_id: str
    body: Json
    idempotency_key: str
    source_version: int
    external_id: str | None = None
    expected_version: str | None = None
    references: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Written:
    """How the record stands at the target after a write.

    Args:
        remote_version: changes whenever a field that we own changes there; compared, never ordered.
        adopted: it was there before this attempt and has been taken over instead of created.
        body: the record as it stands there now, in the form in which `get` and `changes` tell it; what both sides agree
            on from here on. None if the answer does not tell: the next change there is then told as a whole.
        details: for people: the number there, its state, and `warnings`, a list of sentences.
    """

    external_id: str
    remote_version: str | None = None
    adopted: bool = False
    body: Json | None = None
    details: Json = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A record as the target has it now, in canonical form (the fields that the target can tell).

    Args:
        changed_at: when it was last changed, by the target's clock, if it says. A field whose owner is `latest` goes by
            it; a target that does not say has changed the record when the hub comes upon it.
        known_by: by what people there would know it, beyond the fields that we own: `code`, `tax_number`, `phone`,
            `email`, `name` → values as they are kept. Go-live matching takes it; empty for a record that must not be
            linked. None: by what `body` tells.
    """

    external_id: str
    body: Json
    version: str | None = None
    active: bool = True
    changed_at: datetime | None = None
    known_by: Mapping[str, Sequence[str]] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something changed at the target.

    The same change may be reported again (overlap, redelivery): drop it by (entity, external_id, version). `version`
    is unique per reported state, so a record that goes A, B, A reports three of them. It is of the same kind as
    `Written.remote_version` and `Remote.version`: a change that carries the version of our own write is an echo.

    Args:
        account: the account in which the record lies, for the entities that `AdapterSpec.accounts` names.
    """

    entity: str
    external_id: str
    op: str
    """"upsert" or "delete"."""
    body: Json
    version: str
    changed_at: datetime | None = None
    account: str | None = None


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """Part of a listing.

    Args:
        next_cursor: pass it to the next call. Of `changes` it is the checkpoint: store it with the items' effects, in
            one transaction; it is never None there, and going on from it after a crash loses nothing.
        complete: nothing further now. Never true for a page that failed or was cut short.
    """

    items: Sequence[T]
    next_cursor: str | None
    complete: bool


@dataclass(frozen=True)
class Problem:
    """One thing that keeps a connection from working; `field` names the setting to look at."""

    field: str
    message: str


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Answer of `check`: everything that is wrong at once, not the first of it.

    `error_class` is set when the target could not be asked at all (unreachable, credential refused).
    """

    problems: tuple[Problem, ...] = ()
    error_class: ErrorClass | None = None
    details: Json = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """A fresh credential.

    Args:
        secrets: those that have changed; the others stay.
        expires_at: when the target will refuse it, if it said so.
    """

    secrets: Mapping[str, str] = field(repr=False)
    expires_at: datetime | None = None


@runtime_checkable
class Adapter(Protocol):
    """One external system. Instances hold no state of a connection: everything arrives in the context."""

    @property
    def spec(self) -> AdapterSpec: ...

    def check(self, ctx: Context) -> CheckResult:
        """Whether this connection would work: reachable, credential good, each configured id known there.

        Never raises for what it finds; the breaker uses it as its probe, so it must be cheap (a second or two).
        """
        ...

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        """The record by their id, inactive ones too; None when it is gone."""
        ...

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        """Records that match all of the given keys. Every adapter knows "id" (our id), where the target keeps it."""
        ...

    def expected(self, ctx: Context, entity: str, body: Json) -> Json:
        """How `get` will tell this canonical record once `write` has brought it: what the hub owns there, and no more.

        Pure: it makes no call. What the hub does not own, or cannot know before it is written, is left out, at any
        depth. A dry run and a reconciliation compare it with `Remote.body`.

        Raises:
            Invalid: the record cannot stand there; as `write` would say.
        """
        ...

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        """Make the record stand at the target as `cmd` says, from whatever state it is in now.

        Called again after a failure of any kind, with the same key: it looks first, and does only what is missing.
        """
        ...

    def delete(
        self,
        ctx: Context,
        entity: str,
        external_id: str,
        *,
        idempotency_key: str,
        expected_version: str | None = None,
    ) -> Written:
        """Take the record out of use there. Doing it twice is not an error."""
        ...

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        """All records of an entity, by a key that stands still while rows change. `cursor` None starts."""
        ...

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        """What changed since the checkpoint; None reports everything there is. At most about `limit` items."""
        ...

    def parse_webhook(self, ctx: Context, headers: Mapping[str, str], body: bytes) -> Sequence[Change]:
        """Check the signature over the raw body, then tell what it says. A forged one raises `AuthRefused`."""
        ...

    def classify(self, error: BaseException) -> Failure:
        """What an exception of this adapter means; `failure_of` does for most."""
        ...


@runtime_checkable
class Refreshing(Protocol):
    """What an adapter with the capability `refresh` answers beside the rest."""

    def refresh(self, ctx: Context) -> Refreshed:
        """Trade the credential for a fresh one. Called after a refusal, by one process at a time.

        Raises:
            AuthRefused: it cannot be traded any more; a person has to put a new one.
        """
        ...


class AdapterBase:
    """Answers for what an adapter need not do; derive from it and write the rest. Deriving is not required."""

    spec: AdapterSpec

    def expected(self, ctx: Context, entity: str, body: Json) -> Json:
        return body

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        raise AdapterError(f"{self.spec.name} reports no changes of {entity}")

    def parse_webhook(self, ctx: Context, headers: Mapping[str, str], body: bytes) -> Sequence[Change]:
        raise AdapterError(f"{self.spec.name} sends no webhooks")

    def classify(self, error: BaseException) -> Failure:
        return failure_of(error)
