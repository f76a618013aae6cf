"""A real Radicale for tests: the sandbox's, with its environment kept between runs.

The first run on a machine installs it (5 to 20 s); later ones are up in about a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from tests.support.processes import ROOT, free_port

ROOM = ROOT / "deploy" / "sandbox" / "radicale"
PROGRAM = [sys.executable, str(ROOM / "sandbox.py")]


@dataclass(frozen=True)
class TaskServer:
    """A running task server."""

    port: int
    seed: dict[str, Any]
    state: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def secrets(self) -> dict[str, str]:
        return {"username": self.seed["username"], "password": self.seed["password"]}

    def config(self, **changed: Any) -> dict[str, Any]:
        """The settings of a hub connection to it."""
        return {"base_url": self.url, "home": self.seed["home"], "allow_private": ["127.0.0.0/8"], **changed}

    def ask(self, method: str, path: str, data: str = "", **headers: str) -> requests.Response:
        """What a colleague's calendar program does there, past the adapter. `path` begins below the home."""
        user, password = next(iter(self.seed["colleagues"].items()))
        return requests.request(
            method,
            f"{self.url}{quote(self.seed['home'] + path)}",
            data=data.encode() or None,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            auth=(user, password),
            timeout=60,
        )

    def make_calendar(self, account: str) -> None:
        """Make somebody's calendar."""
        assert self.ask("MKCALENDAR", f"{account}/").status_code == 201

    def text(self, account: str, uid: str) -> str:
        """A task as it is kept there, long lines unfolded."""
        reply = self.ask("GET", f"{account}/{uid}.ics")
        assert reply.ok, f"{account}/{uid}.ics: {reply.status_code}"
        return reply.content.decode().replace("\r\n", "\n").replace("\n ", "")

    def change(self, account: str, uid: str, *replaced: tuple[str, str]) -> None:
        """Read a task, replace texts in it, and write it back."""
        text = self.text(account, uid)
        for old, new in replaced:
            assert old in text, f"{old!r} is not in {text}"
            text = text.replace(old, new)
        self.put(account, uid, text)

    def put(self, account: str, name: str, text: str) -> None:
        """Write a resource."""
        reply = self.ask("PUT", f"{account}/{name}.ics", text, Content_Type="text/calendar")
        assert reply.ok, f"{account}/{name}.ics: {reply.status_code} {reply.text}"

    def move(self, account: str, name: str, to: str) -> None:
        """Move a resource to another calendar."""
        target = quote(f"{self.seed['home']}{to}.ics")
        reply = self.ask("MOVE", f"{account}/{name}.ics", Destination=target, Overwrite="F")
        assert reply.ok, f"{account}/{name}.ics to {to}: {reply.status_code} {reply.text}"

    def names(self, account: str) -> set[str]:
        """The resources of a calendar, without their ending."""
        return {file.stem for file in self._kept(account)}

    def holding(self, account: str, text: str) -> int:
        """How many resources of a calendar hold a text, one that is short enough for a line."""
        return sum(text in file.read_text() for file in self._kept(account))

    def _kept(self, account: str) -> list[Path]:
        return list((self.state / "collections" / "collection-root" / "team" / account).glob("*.ics"))

    def forget_tokens(self, account: str) -> None:
        """What happens to a sync token after thirty days."""
        cache = self.state / "collections" / "collection-root" / "team" / account / ".Radicale.cache" / "sync-token"
        for token in cache.iterdir():
            token.unlink()


@contextlib.contextmanager
def running_task_server(folder: Path) -> Iterator[TaskServer]:
    """A fresh task server on a free port, with its state in `folder`; stopped at the end."""
    state, port = folder / "radicale", free_port()
    _sandbox("start", state, f"--port={port}")
    try:
        yield TaskServer(port, json.loads((state / "seed.json").read_text()), state)
    finally:
        _sandbox("stop", state)


def prepare(state: Path) -> Path:
    """Make `state` a fresh task server that nobody serves yet; return its virtual environment."""
    _sandbox("prepare", state)
    return kept_environment()


def kept_environment() -> Path:
    """Where the server's virtual environment is kept between runs; another one when the requirements change."""
    if named := os.environ.get("HUB_RADICALE_VENV"):
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crm-hub"
    return cache / f"radicale-venv-{hashlib.sha256((ROOM / 'requirements.txt').read_bytes()).hexdigest()[:16]}"


def _sandbox(verb: str, state: Path, *options: str) -> None:
    command = [*PROGRAM, verb, f"--state={state}", f"--venv={kept_environment()}", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"sandbox.py {verb}: {done.stdout}{done.stderr}"
