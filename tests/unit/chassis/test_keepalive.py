"""Kept HTTP connections: whether one is still open is seen at once, and sending over it waits for nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import eventlet
import pytest
from urllib3.connection import HTTPConnection
from urllib3.util import wait

from chassis import keepalive


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "wait_for_socket", wait.wait_for_socket)
    keepalive.install()


@pytest.fixture
def ends() -> Iterator[tuple[HTTPConnection, socket.socket]]:
    ours, theirs = socket.socketpair()
    connection = HTTPConnection("erp.example")
    connection.sock = ours
    with ours, theirs:
        yield connection, theirs


def _others_ran(connection: HTTPConnection) -> tuple[bool, bool]:
    """Return whether the connection is open, and whether anybody else ran before that was known."""
    ran: list[bool] = []
    other = eventlet.spawn(ran.append, True)
    open_, before = connection.is_connected, bool(ran)
    other.wait()
    return open_, before


def test_looking_whether_a_kept_connection_is_open_lets_nobody_else_run_first(
        installed: None, ends: tuple[HTTPConnection, socket.socket]) -> None:
    connection, theirs = ends

    assert _others_ran(connection) == (True, False)

    theirs.close()
    assert _others_ran(connection) == (False, False)


def test_by_itself_the_look_lets_others_run_first(
        ends: tuple[HTTPConnection, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    connection, _theirs = ends
    # Whatever a room that ran in this process before has installed.
    monkeypatch.setattr(wait, "wait_for_socket", wait.select_wait_for_socket)

    assert _others_ran(connection) == (True, True), "the library looks without waiting now: chassis.keepalive can go"


def test_a_wait_with_time_to_wait_lets_others_run(
        installed: None, ends: tuple[HTTPConnection, socket.socket]) -> None:
    connection, theirs = ends

    speaking = eventlet.spawn(theirs.sendall, b"HTTP/1.1 200 OK\r\n")

    assert wait.wait_for_read(connection.sock, timeout=20)
    assert wait.wait_for_write(connection.sock, timeout=20)
    speaking.wait()
