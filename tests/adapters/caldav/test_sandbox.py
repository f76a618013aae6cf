"""The sandbox task server itself: it comes up, says what is wrong in a line, and keeps its passwords to itself."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from tests.support.processes import free_port
from tests.support.radicale import PROGRAM, TaskServer, kept_environment


def sandbox(verb: str, state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, verb, f"--state={state}", f"--venv={kept_environment()}", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_passwords_can_be_read_by_their_owner_alone_and_are_of_this_sandbox(server: TaskServer, tmp_path: Path) -> None:
    for name in ("seed.json", "users", "radicale.conf"):
        assert (server.state / name).stat().st_mode & 0o077 == 0, name
    assert sandbox("prepare", tmp_path).returncode == 0
    assert server.secrets["password"] not in (tmp_path / "seed.json").read_text()


def test_starting_what_runs_is_no_error_and_its_status_is_told(server: TaskServer) -> None:
    again = sandbox("start", server.state, f"--port={server.port}")
    assert again.returncode == 0, again.stderr
    told = sandbox("status", server.state)
    assert (told.returncode, server.url in told.stdout) == (0, True)
    second = sandbox("serve", server.state, f"--port={free_port()}")
    assert (second.returncode, second.stderr.strip().count("\n")) == (1, 0)
    assert "already running" in second.stderr


def test_what_was_never_prepared_is_stopped_and_cannot_be_served(tmp_path: Path) -> None:
    told = sandbox("status", tmp_path)
    assert (told.returncode, "not prepared" in told.stdout) == (3, True)
    assert "run `prepare` first" in sandbox("serve", tmp_path).stderr
    assert sandbox("stop", tmp_path).returncode == 0


def test_a_busy_port_is_said_in_one_line_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = sandbox("start", tmp_path / "new", f"--port={port}")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"radicale: port {port}")
    assert refused.stderr.strip().count("\n") == 0
    assert not (tmp_path / "new").exists()
