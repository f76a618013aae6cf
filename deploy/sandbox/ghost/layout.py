"""Where a sandbox Ghost keeps its things, and how it speaks to the person at the terminal."""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path


class Stop(Exception):
    """A reason to end that a person can act on; printed as one line, exit status 1."""


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """Where one sandbox keeps its things and how it is served."""

    state: Path
    app: Path
    port: int

    @property
    def content(self) -> Path:
        return self.state / "content"

    @property
    def seed_file(self) -> Path:
        return self.state / "seed.json"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def secret(self, whose: str) -> str:
        """The random password of the owner, or the webhook's secret; made at the first question, mode 0600."""
        file = self.state / "secrets.json"
        known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        if whose not in known:
            known[whose] = secrets.token_urlsafe(24)
            write_private(file, json.dumps(known, indent=1))
        return known[whose]


def write_private(file: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone."""
    fresh = file.with_name(file.name + ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(file)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} ghost: {text}", flush=True)
