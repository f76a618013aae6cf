"""The sandbox ERP itself: it comes up from nothing, says what is wrong in a line, and keeps its keys to itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.erp import ROOM, Erp, kept_environment
from tests.support.processes import free_port

PROGRAM = [sys.executable, str(ROOM / "sandbox.py")]


def sandbox(verb: str, state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, verb, f"--state={state}", f"--venv={kept_environment()}", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_passwords_and_keys_can_be_read_by_their_owner_alone(erp: Erp) -> None:
    for name in ("secrets.json", "seed.json", "trytond.conf"):
        assert (erp.state / name).stat().st_mode & 0o077 == 0, name


def test_starting_what_runs_is_no_error_and_its_status_is_told(erp: Erp) -> None:
    backend = "postgresql" if erp.postgresql else "sqlite"
    again = sandbox("start", erp.state, f"--port={erp.port}", f"--backend={backend}")
    assert again.returncode == 0, again.stderr
    told = sandbox("status", erp.state)
    assert (told.returncode, erp.url in told.stdout) == (0, True)
    second = sandbox("serve", erp.state, f"--port={free_port()}")
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
    assert refused.stderr.startswith(f"tryton: port {port}")
    assert refused.stderr.strip().count("\n") == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_first_run_that_was_cut_off_is_finished_by_the_next(tmp_path: Path) -> None:
    command = [*PROGRAM, "prepare", f"--state={tmp_path}", f"--venv={kept_environment()}", "--backend=sqlite"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as cut_off:
        database = tmp_path / "data" / "erp.sqlite"
        until = time.monotonic() + 60
        while not (database.exists() and database.stat().st_size > 0):
            assert time.monotonic() < until
            time.sleep(0.05)
        os.killpg(cut_off.pid, signal.SIGKILL)
    assert not (tmp_path / "tables.done").exists()
    port = free_port()
    finished = sandbox("start", tmp_path, f"--port={port}")
    assert finished.returncode == 0, finished.stderr
    assert sandbox("stop", tmp_path).returncode == 0
    assert sandbox("status", tmp_path).returncode == 3
