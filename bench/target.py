"""A target that answers at once and remembers when each idempotency key first arrived: `python -m bench.target PORT`.

Arrival is the moment at which a request had been read whole, on the clock that all processes of one machine share
(`time.monotonic_ns`, CLOCK_MONOTONIC). `GET /arrivals/KEY` waits until that key is here, so asking costs no polling;
`GET /arrivals` tells when each arrived, in order, and `DELETE /arrivals` forgets them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
import threading
import time
from typing import Any

from bench.wire_http import read_message

WAIT_S = 20.0
PRODUCT = {"sku": "BENCH-1", "name": "Bench product", "category": "bench", "price": "10.00", "currency": "CNY",
           "tax_code": "", "active": True, "on_hand": "1000000000"}
"""The one product, of which there is enough for every order."""


class Target:
    """What arrived, by idempotency key.

    Args:
        delay_s: how long it thinks before it answers a write.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._ids = itertools.count(1)
        self._arrived: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._largest = 0
        self._news = threading.Condition()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes, at_ns: int) -> tuple[int, Any]:
        """Return status and body of the answer to one request."""
        if path.startswith("/arrivals/"):
            return self._when(path.removeprefix("/arrivals/"))
        if method == "GET" and path == "/seen":
            return 200, {"calls": dict(self._calls), "largest_body": self._largest, "arrived": len(self._arrived)}
        if path == "/arrivals":
            return 200, self._all(forget=method == "DELETE")
        if method == "GET":
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            return 200, [PRODUCT | {"as_of": moment}] if path.startswith("/product") else {}
        with self._news:
            key = headers.get("idempotency-key", "")
            kind = path.rpartition("/")[2]
            self._arrived.setdefault(key, at_ns)
            self._calls[kind] = self._calls.get(kind, 0) + 1
            self._largest = max(self._largest, len(body))
            self._news.notify_all()
        if self._delay_s:
            time.sleep(self._delay_s)
        return 201, {"id": str(next(self._ids)), "version": "1"}

    def _all(self, *, forget: bool) -> list[int]:
        with self._news:
            times = sorted(self._arrived.values())
            if forget:
                self._arrived.clear()
        return times

    def _when(self, key: str) -> tuple[int, Any]:
        with self._news:
            self._news.wait_for(lambda: key in self._arrived, WAIT_S)
            at_ns = self._arrived.get(key)
        return (200, {"at_ns": at_ns}) if at_ns is not None else (404, {"message": f"{key} did not arrive"})


def _serve(client: socket.socket, target: Target) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with client, contextlib.suppress(ConnectionError):
        reader = client.makefile("rb")
        while (message := read_message(reader)) is not None:
            at_ns = time.monotonic_ns()
            method, path, _ = message.first.split(" ")
            status, body = target.answer(method, path.partition("?")[0], message.headers, message.body, at_ns)
            content = json.dumps(body).encode()
            client.sendall(b"HTTP/1.1 %d Said\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                           % (status, len(content), content))


def main(arguments: list[str]) -> None:
    """Serve on the given loopback port until killed; the second argument is the delay in milliseconds."""
    target = Target(float(arguments[1]) / 1000)
    listener = socket.create_server(("127.0.0.1", int(arguments[0])))
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_serve, args=(client, target), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1:])
