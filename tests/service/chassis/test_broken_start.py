"""A room that breaks while it starts ends, so that its keeper can start it again; it never stands there half alive."""

from __future__ import annotations

import sys
from pathlib import Path

import amqp.exceptions
import pytest

from chassis import broker, migrations
from tests.support.processes import Processes, eventually
from tests.support.rooms import make_keys

PROGRAM = """
import sys
import chassis.launcher
from chassis import control

def broken(*_):
    raise {error}

asked = []
real = control.ask_resend

def once(*args):
    asked.append(1)
    if len(asked) <= {times}:
        broken()
    real(*args)

control.ask_resend = once
sys.exit(chassis.launcher.run("sales"))
"""


def start(processes: Processes, home: Path, amqp_uri: str, error: str, times: int) -> object:
    make_keys(home)
    migrations.upgrade("sales", f"sqlite:///{home}/db/sales.sqlite")
    code = PROGRAM.format(error=error, times=times)
    return processes.start("sales", [sys.executable, "-W", "ignore", "-c", code],
                           {"HUB_HOME": str(home), "AMQP_URI": amqp_uri})


def test_a_consumer_that_breaks_at_the_start_ends_its_process(
    processes: Processes, tmp_path: Path, amqp_uri: str
) -> None:
    process = start(processes, tmp_path, amqp_uri, "RuntimeError('a bug')", 99)
    assert process.wait(20) == 1, process.log()


def test_a_refused_wish_to_hear_events_again_is_made_again(
    processes: Processes, tmp_path: Path, amqp_uri: str
) -> None:
    # A quorum queue that was declared a moment ago may refuse its first message; seen in one cold start of four.
    process = start(processes, tmp_path, amqp_uri, "__import__('amqp').exceptions.MessageNacked()", 2)
    eventually(lambda: "resend_requested" in process.log(), 20)
    assert process.alive()


@pytest.mark.parametrize("error", [amqp.exceptions.MessageNacked, ConnectionResetError, TimeoutError])
def test_what_means_try_again_is_known_as_such(error: type[Exception]) -> None:
    assert issubclass(error, broker.CONNECTION_ERRORS)
