"""An HTTP server that answers, byte for byte, what a test tells it: for what no well-behaved library would send."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

Part = bytes | float
"""Bytes to send, or seconds to wait before the next ones."""


@dataclass(frozen=True)
class Seen:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def answer(status: int = 200, body: bytes = b"{}", headers: Sequence[str] = ()) -> list[Part]:
    """A complete answer."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return ["\r\n".join(lines).encode() + b"\r\n\r\n" + body]


@dataclass
class ScriptedServer:
    """Answers every request with `script(seen)`, then closes the connection. `requests` has all that arrived."""

    script: Callable[[Seen], Sequence[Part]] = lambda seen: answer()
    requests: list[Seen] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._accepting.join(10)  # eventlet would go on waiting for a file that is closed
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            seen = _read(client)
            self.requests.append(seen)
            for part in self.script(seen):
                if isinstance(part, bytes):
                    client.sendall(part)
                else:
                    time.sleep(part)


def _read(client: socket.socket) -> Seen:
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += client.recv(65_536)
    method, path, _ = first.split(" ")
    return Seen(method, path, headers, body)
