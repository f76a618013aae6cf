"""One client's flood beside another's work: real sockets and eventlet's server, no broker."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import eventlet
import pytest
from eventlet.semaphore import Semaphore

from chassis.context import Subject
from chassis.health import Health
from contracts.errors import Unavailable
from contracts.operation import Operation
from gateway import pages
from gateway.application import Application, Work
from gateway.auth import Authenticator, Introspected
from gateway.server import Door, Times
from gateway.settings import GatewaySettings
from tests.service.gateway.test_slow_clients import status_of
from tests.support.processes import eventually
from tests.unit.gateway.parcels import ID, ROUTES, Answered, FakeServices

WORKERS, AT_ONCE, FLOODING = 4, 2, 40


def get(key: str) -> bytes:
    return (f"GET /api/v1/parcels/{ID} HTTP/1.1\r\nHost: gateway.example\r\n"
            f"Authorization: Bearer hub_live_{key}_0123456789abcdef\r\n\r\n").encode()


class SlowServices(FakeServices):
    """Services that take their time to answer, or wait until they are let go."""

    work_s = 0.005
    held: Event | None = None

    def call(self, operation: Operation, request: dict[str, Any], **options: Any) -> Answered:
        if self.held is not None:
            self.held.wait(30)
        eventlet.sleep(self.work_s)
        return super().call(operation, request, **options)


class Opened:
    """An open door to which every credential is known, and four workers."""

    def __init__(self, home: Path, quota: int) -> None:
        self.free = Semaphore(WORKERS)
        self.services = SlowServices()
        settings = replace(GatewaySettings(room="gateway", home=home), limit_requests=quota, limit_anonymous=1000,
                           limit_window_s=10, limit_at_once=AT_ONCE, queue_timeout_s=0.5)
        authenticator = Authenticator(
            lambda _caller, digest, _id: Introspected(Subject("u1", "api_key", "Li Na", via=digest), 3600.0),
            held_s=0.5, most=100)
        application = Application(ROUTES, pages.all_pages(ROUTES, settings, Health()), settings, authenticator,
                                  self.run, eventlet.Timeout)
        self.door = Door(application, "127.0.0.1:0", Times(5, 5, 5), 300)
        self.door.open()

    def run(self, work: Work) -> Any:
        if not self.free.acquire(timeout=1.5):
            raise Unavailable("Every worker is busy")
        try:
            return work(self.services)
        finally:
            self.free.release()

    def line(self) -> Line:
        return Line(self.door.address)


class Line:
    """A connection that is kept alive."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = eventlet.connect(address)
        self._file = self._socket.makefile("rb")

    def ask(self, request: bytes) -> int:
        """Return the status of the answer."""
        self._socket.sendall(request)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            read = self._file.readline()
            assert read, "the gateway has closed the connection"
            head += read
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        self._file.read(int(length.partition(b":")[2]))
        return status_of(head)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    door = Opened(tmp_path, quota=100)
    yield door
    door.door.close(grace_s=0.5)


def latencies_ms(opened: Opened, key: str, count: int = 60) -> list[float]:
    measured = []
    with closing(opened.line()) as line:
        for _ in range(count):
            began = time.perf_counter()
            assert line.ask(get(key)) == 200
            measured.append((time.perf_counter() - began) * 1000)
    return sorted(measured)


def flood(opened: Opened, answers: Counter[int], over: Event) -> None:
    """Ask without a pause over one connection until it is over; count how often it answered what."""
    with closing(opened.line()) as line:
        while not over.is_set():
            answers[line.ask(get("flood"))] += 1


def test_one_keys_flood_neither_slows_nor_refuses_another_key(
    opened: Opened, record_property: pytest.RecordProperty
) -> None:
    alone = latencies_ms(opened, "quiet")
    began, answers, over = time.monotonic(), Counter[int](), Event()
    crowd = [eventlet.spawn(flood, opened, answers, over) for _ in range(FLOODING)]
    eventually(lambda: answers[429] > FLOODING)
    beside = latencies_ms(opened, "quiet", count=20)
    over.set()
    for thread in crowd:
        thread.wait()

    # What the quota held at first and what came back meanwhile, ten each second; and whatever came before it was known.
    took_s = time.monotonic() - began
    assert 80 <= answers[200] <= 100 + 10 * (took_s + 1) + FLOODING
    record_property("median_ms", {"alone": statistics.median(alone), "beside": statistics.median(beside),
                                  "worst": beside[-1]})
    # A busy machine slows both.
    assert statistics.median(beside) < 20 * statistics.median(alone) + 100


def test_one_key_never_has_all_workers(tmp_path: Path) -> None:
    opened = Opened(tmp_path, quota=1000)
    opened.services.held = held = Event()
    try:
        crowd = [eventlet.spawn(opened.line().ask, get("flood")) for _ in range(6)]
        # Its two turns are taken, and the other four are told so while these are still worked on.
        eventually(lambda: sum(thread.dead for thread in crowd) == 6 - AT_ONCE)
        assert opened.free.balance == WORKERS - AT_ONCE
        opened.services.held = None
        with closing(opened.line()) as line:
            assert line.ask(get("quiet")) == 200
        assert sum(thread.dead for thread in crowd) == 6 - AT_ONCE
        held.set()
        answers = sorted(thread.wait() for thread in crowd)
        assert answers == [200] * AT_ONCE + [429] * (6 - AT_ONCE)
    finally:
        held.set()
        opened.door.close(grace_s=0.5)
