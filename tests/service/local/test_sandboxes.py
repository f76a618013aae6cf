"""What every sandbox does alike. Their own tests stand with the adapters that are tried against them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub import readiness
from hub.installation import Installation
from tests.support.processes import ROOT, free_port

sys.path.append(str(ROOT / "deploy" / "sandbox"))

from serving import Place, Server, Stop

LISTENS = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); input()"
WAITS = "input()"


class Answering(Server[Place]):
    """A sandbox that somebody answers for, whoever holds its port."""

    name, script, path, kept = "answering", Path(__file__), "/", "nothing"
    ready_within_s, stops_within_s = 0.5, 1

    def prepared(self) -> bool:
        return True

    def prepare(self) -> None:
        raise AssertionError("never asked for")

    command = environment = prepare

    def answers(self) -> bool:
        return True


@contextmanager
def child(code: str, port: int, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", code, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **environ}) as process:
        yield process
        process.kill()


def test_another_program_on_the_port_is_not_taken_for_the_sandbox(tmp_path: Path) -> None:
    port = free_port()
    server = Answering(Place(state=tmp_path, port=port))
    with socket.create_server(("127.0.0.1", port)), child(WAITS, port) as ours, pytest.raises(Stop, match="no answer"):
        server.wait_until_ready(ours, tmp_path / "server.log")
    with child(LISTENS, port) as ours:
        server.ready_within_s = 20
        server.wait_until_ready(ours, tmp_path / "server.log")


def test_the_hub_counts_a_sandbox_as_ready_only_when_its_own_process_holds_the_port(tmp_path: Path) -> None:
    port = free_port()
    hub = Installation({"HUB_HOME": str(tmp_path), "HUB_RADICALE_PORT": str(port)})
    radicale = hub.programs["radicale"]
    assert readiness.missing(hub, radicale) == f"port {port} does not answer yet"
    with socket.create_server(("127.0.0.1", port)):
        told = readiness.missing(hub, radicale)
    assert told is not None
    assert f"port {port} is held by" in told
    assert f"pid {os.getpid()}, which is not of this hub" in told
    with child(LISTENS, port, HUB_SUPERVISED=str(tmp_path)) as ours:
        server = Answering(Place(state=tmp_path, port=port))
        server.ready_within_s = 20
        server.wait_until_ready(ours, tmp_path / "server.log")
        assert readiness.missing(hub, radicale) is None
