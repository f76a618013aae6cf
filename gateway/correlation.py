"""The ids that find one request in every service's log."""

from __future__ import annotations

import re
from uuid import uuid4

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{8,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def request_id(given: str | None) -> str:
    """Return the client's `X-Request-Id` when it is fit for logs, else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else str(uuid4())


def traceparent(given: str | None) -> str:
    """Return the client's W3C trace context in the version that we speak; empty when there is none that can be read.

    https://www.w3.org/TR/trace-context/ ; a header that cannot be read starts a new trace, as the standard asks.
    """
    match = _TRACEPARENT.fullmatch(given) if given else None
    return f"00-{match[1]}-{match[2]}-{match[3]}" if match else ""
