"""The ids that find one request in every service's log."""

from __future__ import annotations

import re
import secrets
from uuid import uuid4

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{8,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")


def request_id(given: str | None) -> str:
    """Return the client's `X-Request-Id` when it is fit for logs, else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else str(uuid4())


def traceparent(given: str | None) -> str:
    """Return the W3C trace context to pass on: the client's trace with a span of ours, or a trace of our own.

    https://www.w3.org/TR/trace-context/ ; a header that cannot be read starts a new trace, as the standard asks.
    """
    match = _TRACEPARENT.fullmatch(given or "")
    trace, flags = (match[1], match[2]) if match else (secrets.token_hex(16), "01")
    return f"00-{trace}-{secrets.token_hex(8)}-{flags}"
