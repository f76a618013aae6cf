"""The kit's fault proxy: a real system behind it is itself, except where a check says otherwise."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from hub_adapter.conformance.server import Answer, FaultyServer, Request

CARRIED_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})
"""Headers that each line writes for itself."""
ANSWERS_WITHIN_S = 60.0


class FaultProxy(FaultyServer):
    """Forwards every request to `upstream` (scheme, host and port) and its answer back."""

    upstream: str = ""

    def answer(self, request: Request) -> Answer:
        place = urlsplit(self.upstream)
        opened = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        line = opened(place.hostname or "", place.port, timeout=ANSWERS_WITHIN_S)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in CARRIED_BY_HOP}
        try:
            line.request(request.method, request.path, request.body or None, {**headers, "Host": place.netloc})
            told = line.getresponse()
            kept = {name: value for name, value in told.getheaders() if name.lower() not in CARRIED_BY_HOP}
            return Answer(status=told.status, headers=kept, body=told.read())
        finally:
            line.close()
