"""The HTTP session that the hub hands to an adapter.

It keeps a call within its time and size, refuses addresses nobody allowed, follows no redirect, carries the trace on,
counts, shows each exchange (redacted) to whoever watches, and says of a failure whether the request may have arrived.
Plain blocking code on `requests`; it runs the same with or without eventlet's patches.
"""

from __future__ import annotations

import json as jsonlib
import secrets as randomness
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Self

import requests
from urllib3.exceptions import HTTPError as WireError

from hub_adapter.failure import AdapterError, InDoubt, TryLater
from hub_adapter.guard import GuardedAdapter, allowed_networks
from hub_adapter.redaction import Redactor
from hub_adapter.verdict import Reply, lost

CALL_CEILING_S = 30.0
"""No exchange with a target may last this long: a delivery's lease (60 s) must outlive it."""
READ_ONLY_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT"})

_HEADERS = {name: value for name, value in requests.utils.default_headers().items() if name != "User-Agent"}
"""Without the library's name: ours is added last, and stands."""

NETWORK_PROPERTIES: Mapping[str, Any] = {
    "allow_private": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "description": "Private networks (CIDR) in which this target may live, such as 10.1.2.0/24; none by default.",
    },
}
"""Settings that each adapter over HTTP adds to its config schema; read by `HttpPolicy.of`."""


@dataclass(frozen=True, kw_only=True)
class HttpPolicy:
    """How far one connection's traffic may go.

    Args:
        allow_private: CIDRs of private or loopback networks the target may live in; link-local is never allowed.
        total_s: all calls of one session together, from its opening; below 30 s.
    """

    allow_private: tuple[str, ...] = ()
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    total_s: float = 25.0
    max_response_bytes: int = 8 * 1024 * 1024
    pool_size: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.total_s < CALL_CEILING_S:
            raise ValueError(f"total_s must be above 0 and below {CALL_CEILING_S:g}")
        allowed_networks(self.allow_private)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """The policy in a connection's config (`NETWORK_PROPERTIES`)."""
        return cls(allow_private=tuple(config.get("allow_private", ())))


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One call as it went, fit to be kept: previews are redacted and at most 20 kB each."""

    method: str
    url: str
    status: int | None
    error: str | None
    duration_ms: int
    changes: bool
    request_preview: str
    response_preview: str
    trace_id: str
    traceparent: str = ""
    """As the target was told it: this exchange's own span."""


class Transport:
    """The pooled connections to one target, shared by the sessions of one hub connection."""

    def __init__(self, policy: HttpPolicy) -> None:
        self.policy = policy
        self._redactor_of = lru_cache(maxsize=1)(Redactor)
        # Only for its table of adapters. Sent through, a session also follows redirects, keeps cookies and asks the
        # machine for proxies and passwords, none of which may bend what was configured.
        self._wire = requests.Session()
        networks = allowed_networks(policy.allow_private)
        for scheme in ("http", "https"):
            self._wire.mount(f"{scheme}://", GuardedAdapter(scheme == "https", networks, policy.pool_size))

    def session(
        self,
        *,
        secrets: Iterable[str] = (),
        total_s: float | None = None,
        observer: Callable[[Exchange], None] | None = None,
        admit: Callable[[], None] | None = None,
        traceparent: str | None = None,
        dry_run: bool = False,
    ) -> HttpSession:
        """A session for one adapter call.

        Args:
            secrets: values that must never show in a preview.
            total_s: time for all its calls, if less than the policy's.
            observer: is told each exchange, failed ones too, before the adapter sees the outcome.
            admit: asked before each call; may raise `RateLimited`.
            traceparent: W3C trace context to go on with; a fresh one otherwise.
            dry_run: refuse every call that changes something.
        """
        return HttpSession(
            _wire=self._wire,
            _policy=self.policy,
            _until=time.monotonic() + min(total_s or self.policy.total_s, self.policy.total_s),
            _redactor=self._redactor_of(tuple(secrets)),
            _observer=observer or (lambda exchange: None),
            _admit=admit or (lambda: None),
            _trace=_trace_of(traceparent),
            _dry_run=dry_run,
        )

    def close(self) -> None:
        self._wire.close()


@dataclass(kw_only=True)
class HttpSession:
    """What an adapter speaks HTTP through. Lives for one adapter call; `calls` counts what it sent."""

    _wire: requests.Session
    _policy: HttpPolicy
    _until: float
    _redactor: Redactor
    _observer: Callable[[Exchange], None]
    _admit: Callable[[], None]
    _trace: tuple[str, str]
    _dry_run: bool
    calls: int = field(default=0, init=False)
    changing_calls: int = field(default=0, init=False)

    @property
    def remaining_s(self) -> float:
        """Time left for all further calls of this session."""
        return self._until - time.monotonic()

    def get(self, url: str, **options: Any) -> Reply:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> Reply:
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Any) -> Reply:
        return self.request("PUT", url, **options)

    def delete(self, url: str, **options: Any) -> Reply:
        return self.request("DELETE", url, **options)

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Any = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        data: bytes | str | None = None,
        changes: bool | None = None,
    ) -> Reply:
        """Send one request and read its whole answer, whatever its status.

        Args:
            changes: whether it changes something at the target; by default anything but GET, HEAD and the like. A
                search by POST should say False: losing its answer is then no doubt, and a dry run lets it pass.

        Raises:
            TryLater: it did not arrive (no connection, address refused), or the answer to a mere question was lost.
            InDoubt: it may have arrived and changed something, and its answer was lost.
            RateLimited: `admit` refused.
        """
        changes = method.upper() not in READ_ONLY_METHODS if changes is None else changes
        remaining = self._admitted(method, changes)
        if json is not None:
            data, headers = (
                jsonlib.dumps(json, ensure_ascii=False),
                {"Content-Type": "application/json", **(headers or {})},
            )
        headers = {
            **_HEADERS,
            "traceparent": f"00-{self._trace[0]}-{randomness.token_hex(8)}-{self._trace[1]}",
            **(headers or {}),
            "User-Agent": "crm-hub",
        }
        body = data.encode() if isinstance(data, str) else data
        request = requests.Request(method.upper(), url, headers=headers, data=body, params=params or "")
        return self._exchange(request, changes, remaining)

    def _admitted(self, method: str, changes: bool) -> float:
        """Count the call in, unless it may not be made; returns the time that is left for it."""
        if self._dry_run and changes:
            raise AdapterError(f"{method} would change something during a dry run")
        self._admit()
        if (remaining := self.remaining_s) <= 0.05:
            raise TryLater("the time for this call was used up before its next request")
        self.calls += 1
        self.changing_calls += changes
        return remaining

    def _exchange(self, request: requests.Request, changes: bool, remaining: float) -> Reply:
        started, url, reply = time.monotonic(), str(request.url), None
        error: BaseException | None = None
        timeouts = (min(self._policy.connect_timeout_s, remaining), min(self._policy.read_timeout_s, remaining))
        try:
            prepared = request.prepare()
            url = str(prepared.url)
            wire = self._wire.get_adapter(url)
            with wire.send(prepared, stream=True, timeout=timeouts) as response:
                reply = Reply(status=response.status_code, headers=response.headers, body=b"", changes=changes)
                reply = replace(reply, body=self._read(response, changes))
            return reply
        except (requests.RequestException, WireError, OSError) as cause:
            error = cause
            raise lost(cause, changes, self._redactor.text) from cause
        except (
            BaseException
        ) as cause:  # a time-out of the engine's, say: whoever watches must learn that a call was open
            error = cause
            raise
        finally:
            self._observer(self._seen(request, url, changes, reply, error, time.monotonic() - started))

    def _seen(
        self,
        request: requests.Request,
        url: str,
        changes: bool,
        reply: Reply | None,
        error: BaseException | None,
        took_s: float,
    ) -> Exchange:
        """The exchange as it may be kept."""
        show = self._redactor
        return Exchange(
            method=str(request.method),
            url=show.text(url),
            status=reply.status if reply else None,
            error=show.text(f"{type(error).__name__}: {error}")[:500] if error else None,
            duration_ms=round(took_s * 1000),
            changes=changes,
            request_preview=show.preview(f"{request.method} {url}", request.headers, request.data or None),
            response_preview=show.preview(f"HTTP {reply.status}", reply.headers, reply.body) if reply else "",
            trace_id=self._trace[0],
            traceparent=str(request.headers["traceparent"]),
        )

    def _read(self, response: requests.Response, changes: bool) -> bytes:
        """The body, read as it comes, so that neither its size nor a trickle of bytes outruns the limits."""
        doubt = InDoubt if changes else AdapterError
        received = bytearray()
        while chunk := response.raw.read1(65_536, decode_content=True):
            received += chunk
            if len(received) > self._policy.max_response_bytes:
                raise doubt(f"the answer is larger than {self._policy.max_response_bytes} bytes")
            if self.remaining_s <= 0:
                raise (InDoubt if changes else TryLater)("the answer did not end in time")
        return bytes(received)


def _trace_of(traceparent: str | None) -> tuple[str, str]:
    parts = (traceparent or "").split("-")
    if len(parts) == 4 and len(parts[1]) == 32 and set(parts[1]) - {"0"} and set(parts[1]) <= set("0123456789abcdef"):
        return parts[1], parts[3]
    return randomness.token_hex(16), "01"
