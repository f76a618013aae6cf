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
