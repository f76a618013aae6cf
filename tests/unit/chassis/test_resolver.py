"""Looking up names: one that takes its time keeps nobody else waiting."""

from __future__ import annotations

import socket
from typing import Any

import eventlet
import pytest
from eventlet import tpool
from eventlet.patcher import original

from chassis import resolver

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 443))]


def test_a_look_up_that_takes_its_time_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    somebody_else_ran = original("threading").Event()

    def slow(_host: str, *rest: Any) -> Any:
        if rest[-1] & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        assert somebody_else_ran.wait(30)
        return FOUND

    monkeypatch.setattr(resolver, "_ask", slow)
    looking = eventlet.spawn(socket.getaddrinfo, "erp.example", 443)
    eventlet.spawn(somebody_else_ran.set)

    assert looking.wait() == FOUND


def test_a_name_server_that_swallows_questions_holds_up_no_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = original("threading").Event()

    def swallow(_host: str, *rest: Any) -> Any:
        if rest[-1] & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        assert answered.wait(30)
        return FOUND

    monkeypatch.setattr(resolver, "_ask", swallow)
    looking = [eventlet.spawn(socket.getaddrinfo, f"erp-{n}.example", 443) for n in range(30)]
    given_up = eventlet.spawn(socket.getaddrinfo, "erp.example", 443)
    eventlet.sleep(0.05)
    given_up.kill()

    with eventlet.Timeout(20):
        assert tpool.execute(lambda: "done") == "done"

    answered.set()
    assert [one.wait() for one in looking] == [FOUND] * 30


def test_a_name_that_nobody_knows_is_an_error_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(resolver, "_ask", unknown)
    with pytest.raises(socket.gaierror, match="not known"):
        socket.getaddrinfo("erp.example", 443)


def test_a_name_of_the_hosts_file_and_an_address_are_found() -> None:
    for host in ("localhost", "127.0.0.1", None):
        assert ("127.0.0.1", 80) in {entry[4] for entry in socket.getaddrinfo(host, 80, socket.AF_INET)}
