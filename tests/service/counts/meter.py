"""Counts what a piece of work costs: commits and statements in every room, AMQP messages and frames, calls.

Statements and commits are told by SQLAlchemy's engine events; messages are read off the wire by a proxy in front of the
broker, so that nothing depends on how a library is used. What the rooms do by the clock is left out.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import CacheStats

BY_THE_CLOCK = {
    ("relay.py", "_next_batch"), ("dispatcher.py", "_look"), ("dispatcher.py", "_renew"), ("sweeper.py", "run"),
    ("leaseholders.py", "run"), ("pruner.py", "run"), ("entrypoints.py", "_prune"),
    ("runtime.py", "prune"), ("upkeep.py", "run"), ("snapshot.py", "run"), ("sealer.py", "run"),
}
"""File and function of work that runs every so often whether or not anybody asks for anything."""

_METHODS = {(60, 40): "publish", (60, 60): "deliver", (60, 50): "return"}
_ACK, _HEARTBEAT, _METHOD = (60, 80), 8, 1


@dataclass(frozen=True)
class Cost:
    """What a piece of work cost.

    Attributes:
        statements: the SQL, in order, with its room.
        figures: as bench/counts.json keeps them.
    """

    statements: tuple[str, ...]
    figures: dict[str, Any]


@dataclass
class Meter:
    """The counts since the last `reset`."""

    commits: Counter[str] = field(default_factory=Counter)
    statements: Counter[str] = field(default_factory=Counter)
    compiled: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)
    frames: int = 0

    def reset(self) -> None:
        """Begin anew."""
        for counter in (self.commits, self.statements, self.compiled, self.messages):
            counter.clear()
        self.texts.clear()
        self.frames = 0

    @property
    def total(self) -> int:
        """Rises with anything that happens."""
        return self.commits.total() + self.statements.total() + self.frames

    def cost(self, calls: int) -> Cost:
        """Return what was counted."""
        kinds = {"commits": self.commits, "statements": self.statements, "compiled": self.compiled,
                 "messages": self.messages}
        figures: dict[str, Any] = {kind: dict(sorted(counted.items())) for kind, counted in kinds.items()}
        return Cost(tuple(self.texts), {**figures, "frames": self.frames, "calls": calls})

    # --- SQL ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def on_databases(self) -> Iterator[None]:
        """Count statements and commits of every engine in this process."""
        listeners = (("before_cursor_execute", self._executed), ("commit", self._committed))
        for name, listener in listeners:
            event.listen(Engine, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners:
                event.remove(Engine, name, listener)

    def _executed(self, connection: Connection, _cursor: Any, statement: str, _values: Any, context: Any,
                  _many: bool) -> None:
        # SQLite is told BEGIN in words, PostgreSQL's driver does it by itself: it counts on neither.
        if not statement.startswith(("BEGIN", "PRAGMA")) and not _by_the_clock(sys._getframe()):
            self.statements[_room(connection)] += 1
            if context is not None and context.compiled is not None and context.cache_hit is not CacheStats.CACHE_HIT:
                self.compiled[_room(connection)] += 1
            self.texts.append(f"{_room(connection)}: {' '.join(statement.split())[:200]}")

    def _committed(self, connection: Connection) -> None:
        if not _by_the_clock(sys._getframe()):
            self.commits[_room(connection)] += 1

    # --- AMQP -----------------------------------------------------------------------------------------------------

    def frame(self, kind: int, payload: bytes, *, to_broker: bool) -> None:
        """Count one frame."""
        if kind == _HEARTBEAT:
            return
        self.frames += 1
        if kind == _METHOD:
            method = struct.unpack_from(">HH", payload)
            name = ("ack" if to_broker else "confirm") if method == _ACK else _METHODS.get(method)
            self.messages[name or f"method {method[0]}.{method[1]}"] += 1


def _room(connection: Connection) -> str:
    return Path(connection.engine.url.database or "").stem


def _by_the_clock(frame: FrameType | None) -> bool:
    while frame is not None:
        if (frame.f_code.co_filename.rpartition("/")[2], frame.f_code.co_name) in BY_THE_CLOCK:
            return True
        frame = frame.f_back
    return False


class Wire:
    """A proxy in front of the broker that shows every frame to a meter (AMQP 0-9-1, 2.3.5)."""

    def __init__(self, broker_port: int, meter: Meter) -> None:
        self._broker_port = broker_port
        self._meter = meter
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            broker = socket.create_connection(("127.0.0.1", self._broker_port))
            for here, there, to_broker in ((client, broker, True), (broker, client, False)):
                here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._carry, args=(here, there, to_broker), daemon=True).start()

    def _carry(self, here: socket.socket, there: socket.socket, to_broker: bool) -> None:
        with contextlib.suppress(OSError):
            waiting = here.recv(8) if to_broker else b""  # the client's protocol header is no frame
            there.sendall(waiting)
            waiting = b""
            while data := here.recv(65_536):
                waiting = self._frames(waiting + data, to_broker)
                there.sendall(data)
        for end in (here, there):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _frames(self, data: bytes, to_broker: bool) -> bytes:
        """Count the whole frames in `data`; return what is left."""
        while len(data) >= 7:
            kind, _channel, size = struct.unpack_from(">BHI", data)
            if len(data) < size + 8:
                break
            self._meter.frame(kind, data[7:7 + size], to_broker=to_broker)
            data = data[size + 8:]
        return data
