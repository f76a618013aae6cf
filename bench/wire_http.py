"""HTTP/1.1 over keep-alive connections, with as little work as possible: the client's cost hides nobody's."""

from __future__ import annotations

import json
import selectors
import socket
import time
from dataclasses import dataclass
from typing import Any, BinaryIO


@dataclass(frozen=True)
class Message:
    """A request or an answer as it arrived; header names in lower case."""

    first: str
    headers: dict[str, str]
    body: bytes

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.first.split(" ")[1])


def read_message(reader: BinaryIO) -> Message | None:
    """Read one message with a Content-Length, or none; None at the end of the connection."""
    first = reader.readline()
    if not first:
        return None
    headers = {}
    while (line := reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return Message(first.decode("latin-1").strip(), headers, reader.read(int(headers.get("content-length", "0"))))


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a request's bytes; underscores in header names stand for hyphens."""
    given = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *given]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Line:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open()

    def _open(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def ask(self, raw: bytes) -> Message:
        """Send a request's bytes and read the whole answer; a connection that was closed while idle is opened anew."""
        for _ in range(2):
            try:
                self.socket.sendall(raw)
                answer = read_message(self.reader)
            except ConnectionError:
                answer = None
            if answer is not None:
                return answer
            self._open()
        raise ConnectionError(f"port {self._port} closes every connection")

    def close(self) -> None:
        """Close the connection."""
        self.reader.close()
        self.socket.close()


class Door:
    """The gateway as one signed-in client sees it: JSON in, JSON out."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.token = ""
        self._line = Line(port)

    def raw(self, method: str, path: str, body: Any = None, **headers: str) -> bytes:
        """Return the bytes of a request below /api/v1 with our credential."""
        content = json.dumps(body).encode() if body is not None else b""
        credential = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return request(method, f"/api/v1{path}", content, **credential, **headers)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Return the JSON answer.

        Raises:
            AssertionError: the answer is no 2xx; the text has what it said.
        """
        answer = self._line.ask(self.raw(method, path, body, **headers))
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body.decode()[:500]}"
        return json.loads(answer.body) if answer.body else None

    def sign_in(self, username: str, password: str) -> None:
        """Sign in, changing a first password as asked."""
        self.token = ""
        signed_in = self.ask("POST", "/sessions", {"username": username, "password": password})
        self.token = signed_in["token"]
        if signed_in["must_change_password"]:
            fresh = f"{password}-changed"
            self.ask("POST", "/me/password", {"current_password": password, "new_password": fresh})
            self.sign_in(username, fresh)


@dataclass(frozen=True)
class Answered:
    """What a crowd of clients was answered.

    Attributes:
        latencies_s: of each request, from its first byte sent to its last byte read.
        took_s: all of it.
    """

    latencies_s: list[float]
    took_s: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies_s) / self.took_s


def ask_on(port: int, raw: bytes, connections: int, seconds: float, expected: int) -> Answered:
    """Let `connections` clients each ask again as soon as they are answered, for so many seconds.

    One thread steps through all of them, so that the client never takes more than one core.

    Raises:
        AssertionError: an answer had another status than `expected`.
    """
    ready = selectors.DefaultSelector()
    lines = [Line(port) for _ in range(connections)]
    latencies: list[float] = []
    began = time.monotonic()
    asked_at: dict[int, float] = {}
    for line in lines:
        ready.register(line.socket, selectors.EVENT_READ, line)
        asked_at[line.socket.fileno()] = time.monotonic()
        line.socket.sendall(raw)
    while ready.get_map():
        for key, _ in ready.select(timeout=30):
            line = key.data
            answer = read_message(line.reader)
            assert answer is not None, "the connection was closed"
            assert answer.status == expected, f"{answer.status}: {answer.body.decode()[:300]}"
            now = time.monotonic()
            latencies.append(now - asked_at[key.fd])
            if now - began < seconds:
                asked_at[key.fd] = now
                line.socket.sendall(raw)
            else:
                ready.unregister(line.socket)
    took = time.monotonic() - began
    for line in lines:
        line.close()
    return Answered(latencies, took)
