"""What an answer, or the lack of one, means for the delivery: did it arrive, is it refused, when to come back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from urllib3.exceptions import NewConnectionError

from hub_adapter.failure import (
    AdapterError,
    AuthRefused,
    InDoubt,
    Invalid,
    NotFound,
    RateLimited,
    TryLater,
    VersionConflict,
)
from hub_adapter.guard import AddressRefused

RETRY_AFTER_CEILING_S = 24 * 3600.0
_NEVER_LEFT = (
    requests.ConnectTimeout,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, whole and within the size cap. `changes` tells whether its request was one that changes something."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    changes: bool = False

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON. A 2xx that is none (a proxy's login page) leaves a change in doubt."""
        try:
            return json.loads(self.body)
        except ValueError:
            doubt = InDoubt if self.changes and self.ok else TryLater
            raise doubt(f"the target answered {self.status} with something that is not JSON") from None


def lost(error: Exception, changes: bool, redact: Callable[[str], str]) -> AdapterError:
    """What a broken exchange means: nothing arrived, or nobody knows."""
    text = redact(f"{type(error).__name__}: {_reason(error)}")[:300]
    if isinstance(error, AddressRefused):
        return TryLater(str(error))
    if not may_have_arrived(error):
        return TryLater(f"no connection to the target: {text}")
    if changes:
        return InDoubt(f"sent, but its answer was lost: {text}")
    return TryLater(f"a question went unanswered: {text}")


def may_have_arrived(error: BaseException) -> bool:
    """Whether the target can have received the request that ended in this error. In doubt, it can."""
    if isinstance(error, _NEVER_LEFT):
        return False
    if isinstance(error, requests.exceptions.SSLError):
        return "CERTIFICATE_VERIFY_FAILED" not in str(error)
    if isinstance(error, requests.ConnectionError):
        reason = _reason(error)
        return not (isinstance(reason, NewConnectionError | str) or str(error) == "Failed to resolve domain")
    return True


def _reason(error: BaseException) -> object:
    """What really happened, out of the two wrappings that requests and urllib3 put around it."""
    cause = error.args[0] if error.args else error
    return getattr(cause, "reason", None) or cause


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110 §10.2.3): a number, or a date counted from `now`.

    Never below 0, never above a day. None when there is none or it cannot be read.
    """
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), RETRY_AFTER_CEILING_S)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), RETRY_AFTER_CEILING_S)


def refusal(reply: Reply, now: datetime, message: str = "") -> AdapterError:
    """The usual meaning of a status that is no success. An adapter overrides what its target means otherwise.

    Args:
        message: what the target said, in words a person may see.
    """
    status, said = reply.status, f"the target answered {reply.status}" + (f": {message}" if message else "")
    wait = retry_after_s(reply.headers.get("Retry-After"), now)
    if status == 429 or (status == 503 and wait is not None):
        return RateLimited(said, seconds=wait, http_status=status)
    if status in (502, 504) and reply.changes:
        return InDoubt(f"{said}; what stands behind it may have done the work", http_status=status)
    if status >= 500 or status in (408, 425):
        return TryLater(said, http_status=status)
    if status in (401, 403):
        return AuthRefused(said, http_status=status)
    if status in (404, 410):
        return NotFound(said, http_status=status)
    if status == 412:
        return VersionConflict(said, http_status=status)
    if 300 <= status < 400:
        return TryLater(f"{said}, a redirection: the address in the settings is not the right one", http_status=status)
    return Invalid(said, http_status=status)
