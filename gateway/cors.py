"""Which pages of other origins may call the API: those of the configured origins, and no others.

https://fetch.spec.whatwg.org/#http-cors-protocol. The hub knows no cookies: a page sends its credential in
`Authorization`, so `Access-Control-Allow-Credentials` is never said, and no origin is ever `*`.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

EXPOSED = ("ETag", "Location", "Link", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-Id",
           "Idempotency-Replayed", "WWW-Authenticate", "Allow")
"""What a page may read of an answer, beside what any page may."""
ASKED = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-Id",
         "traceparent", "tracestate")
"""What a page may send, beside what any page may."""
VARY = "Accept, Accept-Language, Authorization, Origin"
VARY_OF_PREFLIGHT = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
PREFLIGHT_HELD_S = 600


def allowed(origins: Iterable[str]) -> frozenset[str]:
    """Return the origins as browsers write them.

    Raises:
        ValueError: one is no origin: `https://` or `http://`, a host in lower case, and a port where it is not the
            scheme's own. `*` and `null` are none: they would let in pages that nobody has named.
    """
    named = frozenset(origins)
    for origin in named:
        parts = urlsplit(origin)
        ports = {"http": 80, "https": 443}
        if (parts.scheme not in ports or not parts.hostname or "*" in origin or origin != origin.lower()
                or origin != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc
                or parts.port == ports[parts.scheme]):
            raise ValueError(f"{origin} is no origin, such as https://crm.example or http://localhost:3000")
    return named


def tell(origins: frozenset[str], asked: Headers, answer: Headers, method: str) -> None:
    """Add to an answer what the browser of a page needs to know.

    Args:
        origins: that may call.
        asked: headers of the request.
        answer: headers of the answer; `Allow` holds the methods where it answers a preflight.
        method: of the request.
    """
    preflight = method == "OPTIONS" and "Access-Control-Request-Method" in asked
    answer["Vary"] = VARY_OF_PREFLIGHT if preflight else VARY
    origin = asked.get("Origin")
    if origin is None or origin not in origins:
        return
    answer["Access-Control-Allow-Origin"] = origin
    if preflight:
        answer["Access-Control-Allow-Methods"] = answer.get("Allow", "")
        answer["Access-Control-Allow-Headers"] = ", ".join(ASKED)
        answer["Access-Control-Max-Age"] = str(PREFLIGHT_HELD_S)
    else:
        answer["Access-Control-Expose-Headers"] = ", ".join(EXPOSED)
