"""A hub of real processes behind the gateway: identity, customers, a broker, SQLite."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from chassis import launcher, migrations
from tests.support.broker import Management
from tests.support.processes import ROOT, UNLIMITED, Process, Processes, free_port
from tests.support.rooms import make_keys


@dataclass
class Hub:
    """The running rooms, and an administrator signed in at the gateway; `settings` are told to every room."""

    home: Path
    amqp_uri: str
    processes: Processes
    rooms: dict[str, Process] = field(default_factory=dict)
    url: str = ""
    http: requests.Session = field(default_factory=requests.Session)
    username: str = "admin"
    password: str = ""
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """What every room is told."""
        cheap = {"IDENTITY_PASSWORD_HASH_MEMORY_MIB": "19"}  # the least there may be: a hash is a tenth of a second
        return {"HUB_HOME": str(self.home), "AMQP_URI": self.amqp_uri, **cheap, **self.settings}

    def start(self, *rooms: str) -> None:
        """Make keys and databases, start the rooms and the gateway, sign in."""
        make_keys(self.home)
        for room in rooms:
            module = launcher.room_module(room)
            migrations.upgrade(room, module.SETTINGS.load(room, self.environ).db_uri)
        self.password = self._first_admin()
        for room in rooms:
            self.rooms[room] = self.processes.room(room, self.environ, wait_s=None)
        self.start_gateway()
        for process in self.rooms.values():
            process.wait_ready()
        self.http.trust_env = False
        self.sign_in()

    def start_gateway(self, **environ: str) -> None:
        """Start the gateway at a free port."""
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        self.rooms["gateway"] = self.processes.room(
            "gateway", {**self.environ, **UNLIMITED, "GATEWAY_LISTEN": address, **environ})

    def _first_admin(self) -> str:
        made = subprocess.run([sys.executable, "-m", "services.identity.first_admin"], cwd=ROOT, check=True,
                              capture_output=True, text=True, env={**self.environ, "PYTHONPATH": str(ROOT)})
        return next(line.split(": ")[1] for line in made.stdout.splitlines() if line.startswith("password: "))

    def sign_in(self) -> None:
        """Sign in, change the first password as asked, and sign in anew."""
        answer = self.post("/sessions", {"username": self.username, "password": self.password})
        assert answer.status_code == 201, answer.text
        self.http.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        if answer.json()["must_change_password"]:
            fresh = f"{self.password}-changed"
            changed = self.post("/me/password", {"current_password": self.password, "new_password": fresh})
            assert changed.status_code == 204, changed.text
            self.password = fresh
            self.sign_in()

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET below /api/v1."""
        return self.http.get(f"{self.url}/api/v1{path}", timeout=20, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        """POST below /api/v1."""
        return self.http.post(f"{self.url}/api/v1{path}", json=body, timeout=20, **options)

    def patch(self, path: str, body: Any, **options: Any) -> requests.Response:
        """PATCH below /api/v1."""
        return self.http.patch(f"{self.url}/api/v1{path}", json=body, timeout=20, **options)


@contextlib.contextmanager
def running_hub(broker: Management, home: Path, *rooms: str) -> Iterator[Hub]:
    """Rooms and the gateway as processes on a virtual host of their own; both are gone at the end."""
    broker.start()
    vhost = broker.create_vhost()
    running = Hub(home, vhost.amqp_uri, Processes(home))
    try:
        running.start(*rooms)
        yield running
    finally:
        running.processes.stop_all()
        broker.start()
        broker.delete_vhost(vhost.name)
