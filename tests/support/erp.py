"""A real Tryton for tests: the sandbox's, with its environment and a seeded database kept between runs.

The first run on a machine takes about 40 s; later ones copy the kept database and are up in two. To test against an ERP
on PostgreSQL, start a sandbox with `--backend postgresql` and name its state folder in HUB_TEST_ERP.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import requests

from tests.support.processes import ROOT, free_port

ROOM = ROOT / "deploy" / "sandbox" / "tryton"
KEPT = ("backend", "secrets.json", "seed.json", "seed.done", "tables.done", "data")


@dataclass(frozen=True)
class Erp:
    """A running ERP."""

    port: int
    seed: dict[str, Any]
    state: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def rest_key(self) -> str:
        return str(self.seed["rest_key"])

    def config(self, **changed: Any) -> dict[str, Any]:
        """The settings of a hub connection to it."""
        ids = ("database", "company", "web_shop", "warehouse", "payment_term", "uom", "currencies", "taxes")
        return {
            "base_url": self.url,
            "allow_private": ["127.0.0.0/8"],
            "stock_probe_sku": "SKU-1001",
            **{name: self.seed[name] for name in ids},
            **changed,
        }

    def ask(self, path: str, body: Any = None, *, method: str = "POST") -> Any:
        """What a colleague at the ERP does or looks up, past the adapter."""
        context = json.dumps({"company": self.seed["company"], "language": "en", "active_test": False})
        reply = requests.request(
            method,
            f"{self.url}/{self.seed['database']}/rest/model/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.rest_key}", "X-Tryton-Context": _base64(context)},
            timeout=20,
        )
        assert reply.ok, f"{method} {path}: {reply.status_code} {reply.text[:300]}"
        return reply.json() if reply.content else None

    def rows(self, model: str, domain: list[Any], *fields: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(f"{model}/search_read", {"domain": domain, "fields_names": list(fields)})
        return found

    def shipments(self, sale: str) -> list[int]:
        """The shipments of a sale, in the order they were made."""
        (row,) = self.rows("sale.sale", [["id", "=", int(sale)]], "shipments")
        return sorted(row["shipments"])

    def ship(self, shipment: int, *buttons: str) -> None:
        """What a colleague in the warehouse does: everything up to the goods' leaving, or only these buttons."""
        for button in buttons or ("assign_try", "pick", "pack", "do"):
            self.ask(f"stock.shipment.out/{shipment}/{button}")

    def ship_only(self, shipment: int, quantity: float) -> None:
        """A colleague ships so much of each product, and leaves the rest for later."""
        (row,) = self.rows("stock.shipment.out", [["id", "=", shipment]], "inventory_moves")
        for move in row["inventory_moves"]:
            self.ask(f"stock.move/{move}", {"quantity": quantity}, method="PUT")
        self.ship(shipment)

    def alter(self, sql: str, *values: Any) -> None:
        """What only an administrator or a wizard could do there, done to the database."""
        if self.postgresql is None:
            with contextlib.closing(sqlite3.connect(self.state / "data" / "erp.sqlite", timeout=10)) as file, file:
                file.execute(sql, values)
            return
        with contextlib.closing(psycopg2.connect(self.postgresql)) as connection, connection:
            connection.cursor().execute(sql.replace("?", "%s"), values)

    @property
    def postgresql(self) -> str | None:
        """Address of its database, if that is PostgreSQL."""
        uri = (self.state / "trytond.conf").read_text().partition("uri = ")[2].splitlines()[0]
        return f"{uri}{self.seed['database']}" if uri.startswith("postgresql:") else None


@contextlib.contextmanager
def running_erp(folder: Path) -> Iterator[Erp]:
    """A freshly seeded ERP on a free port, with its state in `folder`; stopped at the end."""
    if (named := os.environ.get("HUB_TEST_ERP")) is not None:
        running = Path(named)
        port = int((running / "server.lock").read_text().split()[1])
        yield Erp(port, json.loads((running / "seed.json").read_text()), running)
        return
    state = folder / "tryton"
    venv = place_seeded(state)
    port = free_port()
    _sandbox("start", state, venv, f"--port={port}")
    try:
        yield Erp(port, json.loads((state / "seed.json").read_text()), state)
    finally:
        _sandbox("stop", state, venv)


def place_seeded(state: Path) -> Path:
    """Make `state` a freshly seeded ERP that nobody serves yet; return its virtual environment."""
    venv, template = kept_environment(), kept_database()
    _sandbox("prepare", template, venv)
    state.mkdir(parents=True)
    for name in KEPT:
        source = template / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, state / name)
    return venv


def kept_environment() -> Path:
    """Where the ERP's virtual environment is kept between runs; another one when the requirements change."""
    named = os.environ.get("HUB_TRYTON_VENV")
    return Path(named) if named else _kept("venv", "requirements.txt")


def kept_database() -> Path:
    return _kept(f"seeded-{time.strftime('%Y')}", "requirements.txt", "seed.py")


def _kept(what: str, *sources: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crm-hub"
    content = b"\0".join((ROOM / source).read_bytes() for source in sources)
    return cache / f"tryton-{what}-{hashlib.sha256(content).hexdigest()[:16]}"


def _sandbox(verb: str, state: Path, venv: Path, *options: str) -> None:
    command = [sys.executable, str(ROOM / "sandbox.py"), verb, f"--state={state}", f"--venv={venv}", "--backend=sqlite"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"sandbox.py {verb}: {done.stdout}{done.stderr}"


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()
