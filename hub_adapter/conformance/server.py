"""An HTTP server that misbehaves on command; what it serves is its subclass's affair."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body) if self.body else {}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is answered, whole."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of(cls, body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """An answer in JSON."""
        said = json.dumps(body, ensure_ascii=False).encode()
        return cls(status=status, headers={"Content-Type": "application/json", **(headers or {})}, body=said)


@dataclass
class Fault:
    """What happens to the next `times` requests that match.

    Args:
        method: GET, POST or PUT; empty for any.
        entity: what the request is about, if the server can tell; empty for any.
        times: how often it happens.
        skip: so many matching requests are let through before.
        status: answered instead of doing anything.
        headers: of that answer.
        message: of that answer's body.
        drop: "before" cuts the line with nothing done, "after" once the request is served, "within" amid the answer.
        instead: says something else than the answer, once the request is served; then the line is cut.
        hang: nothing is done and nothing answered until the caller leaves.
        delay_s: before anything is done.
    """

    method: str = ""
    entity: str = ""
    times: int = 1
    skip: int = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "scripted"
    drop: str = ""
    instead: Callable[[BufferedIOBase], None] | None = None
    hang: bool = False
    delay_s: float = 0.0

    def matches(self, method: str, entity: str) -> bool:
        return self.times > 0 and self.method in ("", method) and self.entity in ("", entity)


@dataclass
class Seen:
    """One request as it arrived, for a test to look at."""

    method: str
    path: str
    key: str | None
    at: float


class FaultyServer:
    """Listens on a free loopback port. Everything is open to the test: `seen`, `faults`."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"faulty": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, **fault: Any) -> Fault:
        """Script a fault and return it."""
        scripted = Fault(**fault)
        self.faults.append(scripted)
        return scripted

    def calls(self, *methods: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.method in methods]

    # --- what a subclass answers --------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        """Serve one request."""
        raise NotImplementedError

    def refused(self, request: Request) -> Answer | None:
        """The refusal of a request that is not even worth a fault: its credential is none."""
        return None

    def entity_of(self, request: Request) -> str:
        """What a request is about."""
        return ""

    # --- what the handler asks ----------------------------------------------------------------------------------------

    def fault(self, request: Request) -> Fault | None:
        entity = self.entity_of(request)
        with self._lock:
            for fault in self.faults:
                if not fault.matches(request.method, entity):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    faulty: FaultyServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(method=self.command, path=self.path, headers=dict(self.headers.items()), body=body)
        faulty = self.faulty
        faulty.seen.append(
            Seen(request.method, request.path, self.headers.get("Idempotency-Key"), time.monotonic())
        )
        if (refusal := faulty.refused(request)) is not None:
            return self._send(refusal)
        fault = faulty.fault(request)
        return self._send(faulty.answer(request)) if fault is None else self._fail(fault, request)

    def _fail(self, fault: Fault, request: Request) -> None:
        time.sleep(fault.delay_s)
        if fault.hang:
            with contextlib.suppress(OSError):
                self.connection.recv(1)
            return self._cut()
        if fault.status is not None:
            return self._send(Answer.of({"message": fault.message}, fault.status, fault.headers))
        if fault.drop == "before":
            return self._cut()
        answer = self.faulty.answer(request)
        if fault.instead is not None:
            with contextlib.suppress(OSError):
                fault.instead(self.wfile)
        elif fault.drop == "within" and answer.body:
            self._send(answer, half=True)
        if fault.instead is not None or fault.drop:
            return self._cut()
        return self._send(answer)

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, answer: Answer, *, half: bool = False) -> None:
        self.send_response_only(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: len(answer.body) // 2] if half else answer.body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""
