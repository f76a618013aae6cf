"""A TCP proxy that hurts on command: for what happens between the hub and a target that is really there.

    with ChaosProxy(("127.0.0.1", port)) as link:
        link.lose_answer_to(b"/quote ")     # that request reaches the target, its answer never comes back
        link.lose(b"/quote ")               # that request never arrives
        link.mode = "refuse"                # connections are reset; "blackhole": nothing passes, on open ones neither
        link.delay_s = 0.2                  # per chunk, each way
        link.bytes_per_s = 1000             # each way

Plain threads and sockets: runs the same with or without eventlet's patches.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Self

CHUNK = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
LET_GO_S = 0.001
"""Between shutdown and close: whoever waits in recv has to leave first, or eventlet takes the next file that gets this
number for one that is being read already."""
GONE = (OSError, EOFError)  # EOFError: what eventlet says of a socket closed under a waiting reader


@dataclass
class ChaosProxy:
    """Listens on a free loopback port (`port`) and forwards to `target`."""

    target: tuple[str, int]
    mode: str = "pass"
    """pass | drop_reply (every answer is lost) | refuse | blackhole"""
    delay_s: float = 0.0
    bytes_per_s: float = math.inf
    connections: int = 0
    cut: int = 0
    """Connections that were reset on purpose."""
    port: int = 0
    _doomed: list[bytes] = field(default_factory=list)
    _unheard: list[bytes] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listener)  # wakes the thread that waits in accept
        for sock in self._open:
            _close(sock)

    def lose_answer_to(self, request: bytes, *, times: int = 1) -> None:
        """Reset the connection instead of answering the next requests whose bytes contain `request`."""
        self._doomed += [request] * times

    def lose(self, request: bytes) -> None:
        """Reset the connection instead of passing on the next request whose bytes contain `request`."""
        self._unheard.append(request)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.append(client)
        if self.mode == "refuse":
            self._reset(client)
            return
        if self.mode == "blackhole":
            with contextlib.suppress(*GONE):
                while client.recv(CHUNK):
                    pass
            return
        try:
            server = socket.create_connection(self.target, timeout=10)
        except OSError:
            self._reset(client)
            return
        server.settimeout(None)
        self._open.append(server)
        lost = threading.Event()
        threading.Thread(target=self._up, args=(client, server, lost), daemon=True).start()
        self._down(client, server, lost)

    def _up(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(*GONE):
            while data := client.recv(CHUNK):
                if not self._carries(data):
                    continue
                for request in [request for request in self._unheard if request in data]:
                    self._unheard.remove(request)
                    self._reset(client)
                    return
                for request in [request for request in self._doomed if request in data]:
                    self._doomed.remove(request)
                    lost.set()
                    break
                server.sendall(data)
        _close(server)

    def _down(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(*GONE):
            while data := server.recv(CHUNK):
                if not self._carries(data):
                    continue
                if lost.is_set() or self.mode == "drop_reply":
                    self._reset(client)
                    break
                client.sendall(data)
        _close(client)
        _close(server)

    def _carries(self, data: bytes) -> bool:
        """Take the time that the line needs for this; tell whether it arrives."""
        time.sleep(self.delay_s + len(data) / self.bytes_per_s)
        return self.mode != "blackhole"

    def _reset(self, client: socket.socket) -> None:
        self.cut += 1
        with contextlib.suppress(*GONE):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            client.shutdown(socket.SHUT_RD)  # a thread that still waits in recv would put the close off
            time.sleep(LET_GO_S)
        client.close()


def _close(sock: socket.socket) -> None:
    with contextlib.suppress(*GONE):
        sock.shutdown(socket.SHUT_RDWR)
        time.sleep(LET_GO_S)
    sock.close()
