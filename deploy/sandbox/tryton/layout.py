"""Where a sandbox ERP keeps its things, what its programs see, and how it speaks to the person at the terminal."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import cluster
import serving

NAME = "tryton"
DATABASE = "erp"
say = partial(serving.say, NAME)


@dataclass(frozen=True, kw_only=True)
class Sandbox(serving.Place):
    """Where one sandbox keeps its things and how it is served. Its secrets are those of `admin`, `hub`, `database`."""

    venv: Path
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
    def tables_marker(self) -> Path:
        return self.state / "tables.done"

    @property
    def seed_marker(self) -> Path:
        return self.state / "seed.done"

    @property
    def sqlite_file(self) -> Path:
        return self.state / "data" / f"{DATABASE}.sqlite"

    @property
    def cluster(self) -> cluster.Cluster:
        return cluster.Cluster(self.state / "pg", self.postgres_port, self.secret("database"))

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
