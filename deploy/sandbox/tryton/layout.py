"""Where a sandbox ERP keeps its things, what its programs see, and how it speaks to the person at the terminal."""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import cluster

DATABASE = "erp"


class Stop(Exception):
    """A reason to end that a person can act on; printed as one line, exit status 1."""


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """Where one sandbox keeps its things and how it is served."""

    state: Path
    venv: Path
    port: int
    postgres_port: int
    backend: str
    threads: int

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def conf(self) -> Path:
        return self.state / "trytond.conf"

    @property
    def seed_file(self) -> Path:
        return self.state / "seed.json"

    @property
    def tables_marker(self) -> Path:
        return self.state / "tables.done"

    @property
    def seed_marker(self) -> Path:
        return self.state / "seed.done"

    @property
    def sqlite_file(self) -> Path:
        return self.state / "data" / f"{DATABASE}.sqlite"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cluster(self) -> cluster.Cluster:
        return cluster.Cluster(self.state / "pg", self.postgres_port, self.password("database"))

    def password(self, whose: str) -> str:
        """The random password of admin, hub or database; made at the first question, mode 0600."""
        file = self.state / "secrets.json"
        known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        if whose not in known:
            known[whose] = secrets.token_urlsafe(24)
            write_private(file, json.dumps(known, indent=1))
        return known[whose]

    def environment(self) -> dict[str, str]:
        """What the ERP's own programs see: no stray TRYTOND_* of the caller, UTF-8 in a bare container too."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TRYTOND_", "PYTHON"))}
        return kept | {
            "TRYTOND_CONFIG": str(self.conf),
            "TRYTOND_DATABASE_NAMES": DATABASE,
            "TRYTOND_LOGGING_LEVEL": os.environ.get("TRYTOND_LOGGING_LEVEL", "30"),
            "PYTHONUTF8": "1",
            "PYTHONUNBUFFERED": "1",
        }


def write_private(file: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone."""
    fresh = file.with_name(file.name + ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(file)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} tryton: {text}", flush=True)
