"""A target that does what it is asked and answers with rubbish: given up in time, and one record in the end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from io import BufferedIOBase

import pytest

from tests.service.integrations.conftest import Hub
from tests.support.fake_target import FakeTarget, running
from tests.support.processes import eventually

pytestmark = pytest.mark.faults
DEADLINE_S = 3.0
HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def cut_off(line: BufferedIOBase) -> None:
    line.write(HEAD % 500 + b'{"id": "1", "ver')


def drip(line: BufferedIOBase) -> None:
    line.write(HEAD % 10_000)
    for _ in itertools.count():
        line.write(b" ")
        line.flush()
        time.sleep(0.1)


def ten_gigabytes(line: BufferedIOBase) -> None:
    line.write(HEAD % 10_000_000_000)
    for _ in itertools.count():
        line.write(b" " * 65_536)


def no_json(line: BufferedIOBase) -> None:
    line.write(HEAD % 21 + b"<html>All is well</h>")


@pytest.fixture
def other() -> Iterator[FakeTarget]:
    yield from running()


@pytest.mark.parametrize("rubbish", [cut_off, drip, ten_gigabytes, no_json])
def test_an_answer_that_is_no_answer_is_given_up_in_time_and_leaves_one_record(
    make_hub: Callable[..., Hub], target: FakeTarget, other: FakeTarget, rubbish: Callable[[BufferedIOBase], None]
) -> None:
    hub = make_hub(call_deadline_s=DEADLINE_S)
    connection_id, elsewhere = hub.connect(target, "customer"), hub.connect(other, "customer")
    target.fail(method="POST", instead=rubbish)
    hub.run()
    began = time.monotonic()

    id = hub.customer()

    eventually(lambda: hub.ledger(elsewhere).delivered == 1, DEADLINE_S)
    eventually(lambda: "in_doubt" in hub.states(id), 2 * DEADLINE_S)
    assert time.monotonic() - began < 2 * DEADLINE_S
    hub.hurry(id)
    eventually(lambda: hub.ledger(connection_id).delivered == 1)
    assert [row.key for row in target.of("customer")] == [id]
    assert (hub.ledger(connection_id).dead, hub.ledger(connection_id).balanced) == (0, True)
