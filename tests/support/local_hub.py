"""A whole hub of its own: broker, rooms, gateway and ERP as processes, brought up by `hub`, on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.demo.calendar import Calendar
from hub.demo.colleague import Colleague
from hub.demo.door import Door
from hub.demo.erp import Erp
from hub.demo.login import open_door
from hub.installation import Installation
from tests.support import radicale
from tests.support.erp import place_seeded
from tests.support.processes import INHERITED, ROOT, free_port
from tests.support.rooms import SERVICES

ROOMS = (*SERVICES, "gateway")


class LocalHub:
    """One hub in `home`. `up` is what a person types; `kill` is what a power cut does to one process."""

    def __init__(self, home: Path, **environ: str) -> None:
        self.home = home
        inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
        self.env = inherited | {
            "HUB_HOME": str(home),
            "HUB_BROKER_PORT": str(free_port(in_a_row=3)),  # AMQP, epmd, distribution
            "HUB_PORT": str(free_port()),
            "HUB_TRYTON_PORT": str(free_port()),
            "HUB_RADICALE_PORT": str(free_port()),
            **{f"HEALTH_ADDRESS_{room.upper()}": f"127.0.0.1:{free_port()}" for room in ROOMS},
            **environ,
        }

    first_password: str | None = None

    def __call__(self, *arguments: str, timeout_s: float = 110.0) -> dict[str, Any]:
        """Run `hub` with `--json`; return the document."""
        done = subprocess.run([sys.executable, "-m", "hub", *arguments, "--json"], cwd=ROOT, env=self.env,
                              capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.stdout, f"hub {' '.join(arguments)}: {done.stderr[-2000:]}"
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def up(self) -> None:
        """Start everything, the ERP freshly seeded and the calendars empty."""
        state = self.home / "sandbox" / "tryton"
        if not state.exists():
            self.env["HUB_TRYTON_VENV"] = str(place_seeded(state))
            self.env["HUB_RADICALE_VENV"] = str(radicale.prepare(self.home / "sandbox" / "radicale"))
        answer = self("up", "--with", "tryton", "--with", "radicale")
        assert answer["ok"], f"{answer}\n{self.logs()}"
        self.first_password = answer.get("first_admin", {}).get("password")

    def down(self) -> None:
        """Stop everything."""
        self("down")

    def pids(self) -> dict[str, int]:
        """The running programs."""
        return {program["name"]: program["pid"] for program in self("status")["programs"] if program["pid"]}

    def kill(self, program: str) -> None:
        """kill -9 one process; its keeper starts it again."""
        os.kill(self.pids()[program], signal.SIGKILL)

    @property
    def installation(self) -> Installation:
        """As the command line sees it."""
        return Installation(self.env)

    def door(self) -> Door:
        """The gateway, with an administrator's API key."""
        return Door(self.installation.url, open_door(self.installation, self.first_password).api_key)

    def erp(self) -> Erp:
        """The ERP, read past the hub."""
        return Erp.of(self.installation)

    def colleague(self) -> Colleague:
        """Somebody who works in the ERP."""
        return Colleague.of(self.installation)

    def calendar(self) -> Calendar:
        """A colleague's calendar, read past the hub."""
        return Calendar.of(self.installation)

    def logs(self, lines: int = 15) -> str:
        """The last words of every process."""
        told = []
        for file in sorted((self.home / "log").glob("*.log")):
            tail = file.read_text(errors="replace").splitlines()[-lines:]
            told.append(f"--- {file.name}\n" + "\n".join(tail))
        return "\n".join(told)


@pytest.fixture(scope="session")
def whole_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """One hub for every flow and every kill of this run: it must survive them all."""
    with local_hub(tmp_path_factory.mktemp("hub") / "h") as running:
        yield running


@contextlib.contextmanager
def local_hub(home: Path, **environ: str) -> Iterator[LocalHub]:
    """A running hub; everything it started is stopped at the end."""
    hub = LocalHub(home, **environ)
    try:
        hub.up()
        yield hub
    finally:
        hub.down()
