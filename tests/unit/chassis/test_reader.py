"""Waiting for the broker: whoever has something else to tell a reader ends its wait, and not a byte is lost."""

from __future__ import annotations

import socket

import eventlet
import pytest

from chassis import broker


def test_a_reader_that_is_woken_waits_no_longer_and_misses_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        read = broker._Reader(ours.recv)
        read.listening = True
        reading = eventlet.spawn(read, 7)
        eventlet.sleep(0)

        read.wake()
        with pytest.raises(TimeoutError):
            reading.wait()

        theirs.sendall(b"a frame")
        assert read(7) == b"a frame"


def test_a_wake_that_comes_too_late_ends_no_later_wait() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        read = broker._Reader(ours.recv)
        read.listening = True
        before = eventlet.spawn(read, 7)
        eventlet.sleep(0)
        theirs.sendall(b"a frame")
        assert before.wait() == b"a frame"
        after = eventlet.spawn(read, 7)
        eventlet.sleep(0)

        read._end_wait(before)
        theirs.sendall(b"another")

        assert after.wait() == b"another"


def test_whoever_waits_for_an_answer_of_the_broker_is_not_woken() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        read = broker._Reader(ours.recv)
        asking = eventlet.spawn(read, 7)
        eventlet.sleep(0)

        read.wake()
        eventlet.sleep(0)
        theirs.sendall(b"cancel-ok")

        assert asking.wait() == b"cancel-ok"
