"""A line that is open on one side only, or slow: noticed in time, in doubt and not doubled, and nobody else waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from services.integrations.models import Attempt
from tests.service.integrations.conftest import Hub
from tests.support.chaos_proxy import ChaosProxy
from tests.support.fake_target import FakeTarget, running
from tests.support.processes import eventually


@pytest.fixture
def other() -> Iterator[FakeTarget]:
    yield from running()


@pytest.fixture
def link(target: FakeTarget) -> Iterator[ChaosProxy]:
    host, port = target.url.removeprefix("http://").split(":")
    with ChaosProxy((host, int(port))) as proxy:
        yield proxy


class _Through:
    """A target as it is reached through a proxy."""

    def __init__(self, link: ChaosProxy) -> None:
        self.config: dict[str, Any] = {"base_url": f"http://127.0.0.1:{link.port}", "allow_private": ["127.0.0.0/8"]}


def connect(hub: Hub, link: ChaosProxy, **options: Any) -> str:
    return hub.connect(_Through(link), "customer", **options)  # type: ignore[arg-type]


@pytest.mark.faults
@pytest.mark.timeout(90)
def test_a_line_that_answers_nothing_any_more_is_noticed_within_thirty_seconds(
    hub: Hub, target: FakeTarget, other: FakeTarget, link: ChaosProxy
) -> None:
    connection_id = connect(hub, link)
    elsewhere = hub.connect(other, "customer")
    hub.run()
    hub.until(hub.customer(), "delivered", "delivered")
    link.mode = "blackhole"
    began = time.monotonic()

    id = hub.customer()
    eventually(lambda: hub.ledger(elsewhere).delivered == 2)
    assert time.monotonic() - began < 5
    eventually(lambda: any(row.ended_at and row.error_class for row in hub.rows(Attempt)), 32)

    assert time.monotonic() - began < 30
    link.mode = "pass"
    hub.hurry(id)
    eventually(lambda: hub.ledger(connection_id).delivered == 2, 15)
    assert len(target.of("customer")) == 2


def test_a_slow_line_doubles_nothing_and_keeps_nobody_else_waiting(
    hub: Hub, target: FakeTarget, other: FakeTarget, link: ChaosProxy
) -> None:
    connection_id = connect(hub, link)
    elsewhere = hub.connect(other, "customer")
    hub.run()
    link.delay_s = 0.4
    began = time.monotonic()

    for _ in range(5):
        hub.customer()

    eventually(lambda: hub.ledger(elsewhere).delivered == 5)
    assert time.monotonic() - began < 2.0
    eventually(lambda: hub.ledger(connection_id).delivered == 5, 20)
    assert len(target.of("customer")) == 5
    assert hub.connection(connection_id).health == "ok"
