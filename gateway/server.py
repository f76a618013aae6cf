"""The listening socket: eventlet's WSGI server with every wait bounded.

Reading a request never takes a worker. A client that sends nothing, or a byte now and then, holds one green thread and
one socket until its time is up; it cannot slow anybody else.
"""

from __future__ import annotations

import errno
import http.client
import json
import logging
import socket
from dataclasses import dataclass
from typing import Any

import eventlet
from eventlet.greenio import shutdown_safe
from eventlet.wsgi import STATE_CLOSE, STATE_IDLE, HeaderLineTooLong, HttpProtocol, Server
from eventlet.wsgi import HeadersTooLarge as HeaderSectionTooLarge

from chassis import telemetry
from contracts.errors import BadRequest, HubError, Unavailable
from gateway import correlation, problems
from gateway.errors import HeadersTooLarge, RequestTimeout, UriTooLong

log = telemetry.logger(__name__)

_MOST_LINE = 8192
_LINGER_S = 1.0
_LINGER_BYTES = 4_194_304
_GONE = (ConnectionError, TimeoutError, OSError)
_OUT_OF_SOCKETS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class BoundedLines:
    """A reader whose lines (chunk sizes, trailers) cannot be longer than a header line."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readline(self, size: int = -1) -> bytes:
        """Return a line, or raise ValueError when it has no end in sight."""
        line: bytes = self._stream.readline(_MOST_LINE if size < 0 else min(size, _MOST_LINE))
        if len(line) >= _MOST_LINE:
            raise ValueError("a line of the chunked body is too long")
        return line

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes."""
        data: bytes = self._stream.read(size)
        return data


class BoundedProtocol(HttpProtocol):
    """eventlet's HTTP/1.1 with a time limit on the headers and a problem document for what cannot be parsed."""

    server: BoundedServer
    application: Any
    _headers_due: eventlet.Timeout | None = None
    _served = False
    _unread = False

    def _read_request_line(self) -> bytes:
        """Wait for the first byte as long as a kept-alive connection may idle, then for all headers a short time."""
        times = self.server.times
        try:
            self.connection.settimeout(times.idle_s if self._served else times.header_s)
            if not self.rfile.peek(1):
                return b""
            self.connection.settimeout(times.write_s)
            self._headers_due = eventlet.Timeout(times.header_s)
            line: bytes = self.rfile.readline(_MOST_LINE + 1)
        except eventlet.Timeout:
            self._refuse(RequestTimeout("The request line did not arrive in time"))
            return b""
        except _GONE:
            self._stop_clock()
            return b""
        if len(line) > _MOST_LINE:
            self._refuse(UriTooLong(f"The request line is longer than {_MOST_LINE} bytes"))
            return b""
        if not line.strip():
            self._stop_clock()
            return b""
        return line

    def parse_request(self) -> bool:
        """Read the headers; refuse what two HTTP readers could understand differently."""
        try:
            if not super().parse_request():
                return False
        except eventlet.Timeout:
            return self._refuse(RequestTimeout("The headers did not arrive in time"))
        except (HeaderLineTooLong, HeaderSectionTooLarge):
            return self._refuse(HeadersTooLarge())
        except _GONE:
            self.close_connection = True
            return False
        finally:
            self._stop_clock()
        fault = _framing_fault(self.request_version, self.headers)
        return self._refuse(BadRequest(fault)) if fault else True

    def get_environ(self) -> dict[str, Any]:
        """Return the WSGI environment; chunk lines are bounded."""
        environ: dict[str, Any] = super().get_environ()
        environ["wsgi.input"].rfile = BoundedLines(environ["wsgi.input"].rfile)
        return environ

    def handle_one_response(self) -> None:
        """Answer, and close the connection where the body was not read to its end: nobody waits for the rest of it."""
        body = self.environ["eventlet.input"]
        application = self.application

        def answer_and_close(environ: dict[str, Any], start_response: Any) -> Any:
            result = application(environ, start_response)
            if (body.chunked_input and body.chunk_length != 0) or body.position < (body.content_length or 0):
                self.close_connection = True
                self._unread = True
            if self.conn_state[2] == STATE_CLOSE:
                self.close_connection = True
            return result

        self.application = answer_and_close
        super().handle_one_response()
        self._served = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the parser refused as a problem document; its own message may quote the client's bytes."""
        too_large = code in {431, 414}
        self._refuse(HeadersTooLarge() if too_large else BadRequest("The request line or a header cannot be read"))

    def finish(self) -> None:
        """Close, after giving a client that is still sending a moment to read the answer (RFC 9112, 9.6)."""
        try:
            self.wfile.flush()
            if self._unread:
                _linger(self.connection)
        except _GONE:
            log.debug("client_gone")
        try:
            super().finish()
        except _GONE:
            log.debug("client_gone")

    def _refuse(self, error: HubError) -> bool:
        """Write the problem and end the connection; nothing more can be understood of it. Returns False."""
        self._stop_clock()
        self.close_connection = True
        self._unread = True
        request_id = correlation.request_id(None)
        body = json.dumps(problems.document(error, request_id)).encode()
        head = (f"HTTP/1.1 {error.status} {http.client.responses[error.status]}\r\n"
                f"Content-Type: {problems.MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\n"
                "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n")
        log.info("request_refused", status=error.status, code=error.code, request_id=request_id)
        try:
            self.wfile.write(head.encode() + body)
        except _GONE:
            log.debug("client_gone")
        return False

    def _stop_clock(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None


def _framing_fault(version: str, headers: Any) -> str | None:
    """Return why two readers could see two ends of a request, or two hosts (RFC 9112, 3.2 and 6.3)."""
    lengths = headers.get_all("Content-Length") or []
    if len(lengths) > 1 or any(not (value.isascii() and value.isdigit()) for value in lengths):
        return "Content-Length must be one whole number"
    if lengths and "Transfer-Encoding" in headers:
        return "Content-Length and Transfer-Encoding must not stand together"
    if headers.get("Transfer-Encoding", "chunked").strip().lower() != "chunked":
        return "The transfer coding is not known here; chunked is"
    if version not in {"HTTP/1.0", "HTTP/1.1"}:
        return "The gateway speaks HTTP/1.1"
    if len(headers.get_all("Host") or []) != 1 and version == "HTTP/1.1":
        return "One Host header is required"
    return None


def _linger(connection: Any) -> None:
    """Send the end of the stream, then take in what still comes: a reset could make the client miss the answer."""
    connection.shutdown(socket.SHUT_WR)
    taken = 0
    with eventlet.Timeout(_LINGER_S, False):
        while taken < _LINGER_BYTES:
            part = connection.recv(65_536)
            if not part:
                break
            taken += len(part)


@dataclass(frozen=True)
class Times:
    """How long the server waits for a client, in seconds."""

    header_s: float
    idle_s: float
    write_s: float


class BoundedServer(Server):
    """eventlet's WSGI server without its prints, its own logs and its unbounded waits."""

    def __init__(self, listener: Any, application: Any, times: Times) -> None:
        self.times = times
        super().__init__(listener, listener.getsockname(), application, log=logging.getLogger(__name__), debug=False,
                         protocol=BoundedProtocol, keepalive=True, log_output=False, url_length_limit=2 * _MOST_LINE,
                         socket_timeout=times.write_s)
        # Set afterwards: eventlet's argument of this name warns, and would turn ETag into Etag.
        self.capitalize_response_headers = False


class Door:
    """Listens, and serves each connection in a green thread of its own.

    Args:
        application: WSGI.
        address: `host:port`; port 0 takes any free one.
        times: what a client is given.
        most_connections: one more is told 503 and closed.
    """

    def __init__(self, application: Any, address: str, times: Times, most_connections: int) -> None:
        host, _, port = address.rpartition(":")
        self._listener = eventlet.listen((host.strip("[]"), int(port)), backlog=512,
                                         family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._listener.settimeout(None)
        self._server = BoundedServer(self._listener, application, times)
        self._most = most_connections
        self._pool = eventlet.GreenPool(most_connections + 1)
        self._connections: dict[int, list[Any]] = {}
        self._accepting: Any = None
        self.address: tuple[str, int] = self._listener.getsockname()[:2]

    def open(self) -> None:
        """Begin to accept."""
        self._accepting = eventlet.spawn(self._accept)

    def close(self, grace_s: float = 25.0) -> None:
        """Stop accepting, let requests under way finish within `grace_s` seconds, close the rest."""
        if self._accepting is not None:
            self._accepting.kill()
        self._listener.close()
        for state in list(self._connections.values()):
            idle, state[2] = state[2] == STATE_IDLE, STATE_CLOSE
            if idle:
                shutdown_safe(state[1])
        with eventlet.Timeout(grace_s, False):
            self._pool.waitall()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError as error:
                # Without free sockets accept fails at once and for a while; a connection that was reset fails once.
                log.warning("accept_failed", error=type(error).__name__, errno=error.errno)
                eventlet.sleep(0.1 if error.errno in _OUT_OF_SOCKETS else 0)
                continue
            if len(self._connections) >= self._most:
                _turn_away(connection)
                continue
            state = [peer, connection, STATE_IDLE]
            self._connections[id(state)] = state
            self._pool.spawn_n(self._serve, state)

    def _serve(self, state: list[Any]) -> None:
        try:
            state[1].settimeout(self._server.socket_timeout)
            self._server.process_request(state)
        except _GONE:
            log.debug("client_gone")
        except Exception as error:
            log.error("connection_broken", error=type(error).__name__)
        finally:
            self._connections.pop(id(state), None)
            state[1].close()


def _turn_away(connection: Any) -> None:
    error = Unavailable("Too many connections are open")
    body = json.dumps(problems.document(error, correlation.request_id(None))).encode()
    log.warning("connection_turned_away")
    try:
        connection.settimeout(0.1)
        connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
                           b"Retry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    except _GONE:
        log.debug("client_gone")
    finally:
        connection.close()
