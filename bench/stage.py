"""What a benchmark stands on: a broker, databases and real processes of its own, in a folder that goes when it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kombu import Connection

from bench import adapter
from bench.wire_http import Door, Line, request
from chassis import migrations
from chassis.context import make_signing_key
from chassis.crypto import MasterKey
from deploy.local.broker import Broker
from tests.support.postgres import Postgres
from tests.support.processes import INHERITED, ROOT, UNLIMITED, Process, Processes, free_port

ROOMS = ("identity", "customers", "sales", "integrations")


class Program:
    """A floor program, or a part of the product, that does one thing each time it is told to: JSON lines in and out."""

    def __init__(self, command: Sequence[str], environ: dict[str, str]) -> None:
        inherited = {key: os.environ[key] for key in INHERITED if key in os.environ} | {"PYTHONWARNINGS": "ignore"}
        self._popen = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, text=True, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE,
                                       env={**inherited, "PYTHONPATH": str(ROOT), **environ})
        self.hello = self._read()

    def ask(self, **what: Any) -> dict[str, Any]:
        """Return the program's answer to one command."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(what) + "\n")
        self._popen.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        assert line, f"{self._popen.args!r} ended with {self._popen.poll()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """End it."""
        self._popen.terminate()
        self._popen.wait(10)


def commands(answer: Callable[[dict[str, Any]], dict[str, Any]], hello: dict[str, Any]) -> None:
    """Be a `Program`: say hello, then answer each command until the input ends."""
    print(json.dumps(hello), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


class Stage:
    """A broker, a target and, on request, the product; everything is on loopback and ends with the `with` block.

    Args:
        database: "sqlite", files in the stage's folder; "postgresql", a cluster of the stage's own.
        delay_ms: how long the target thinks.
        traced: the rooms run under bench.traced, which writes down where their time goes.
    """

    def __init__(self, database: str = "sqlite", delay_ms: float = 0, *, traced: bool = False) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="hub-bench-"))
        self._database = database
        self._delay_ms = delay_ms
        self._traced = traced
        self._cluster: Postgres | None = None
        self._programs: list[Program] = []
        self.processes = Processes(self.home)
        ports = [free_port() for _ in range(4)]
        self.broker = Broker(directory=self.home / "broker", port=ports[0], epmd_port=ports[1], dist_port=ports[2])
        self.target_port = ports[3]
        self.rooms: dict[str, Process] = {}
        self._made: dict[str, str] = {}
        self._environ: dict[str, str] = {}

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            (self.home / "db").mkdir()
            self.broker.start(die_with_parent=True)
            if self._database == "postgresql":
                folder = Path(tempfile.mkdtemp(prefix="hub-bench-pg-"))
                self._cluster = Postgres(folder)
                self._cluster.initialise()
                self._cluster.start()
            self.processes.start("target", [sys.executable, "-m", "bench.target", str(self.target_port),
                                            str(self._delay_ms)])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None,
                 _trace: TracebackType | None) -> None:
        for program in self._programs:
            program.stop()
        self.processes.stop_all()
        self.broker.stop()
        if self._cluster is not None:
            self._cluster.stop(signal.SIGQUIT)
            shutil.rmtree(self._cluster.directory, ignore_errors=True)
        for _ in range(20):  # Erlang writes a last word after it has let go of its lock
            shutil.rmtree(self.home, ignore_errors=True)
            if not self.home.exists():
                break
            time.sleep(0.1)

    @property
    def amqp_uri(self) -> str:
        """The broker's address."""
        return self.broker.uri()

    def db_uri(self, name: str) -> str:
        """Return the URI of a database; it is made when it is asked for."""
        if self._cluster is None:
            return f"sqlite:///{self.home}/db/{name}.sqlite"
        if name not in self._made:
            self._made[name] = self._cluster.uri(self._cluster.create_database()).replace("+psycopg2", "")
        return self._made[name]

    def bind_sink(self, exchange: str, routing_key: str, queue: str, **arguments: Any) -> None:
        """Bind a quorum queue that nobody consumes, where events go whose listeners are not started."""
        with Connection(self.amqp_uri) as connection:
            channel = connection.default_channel
            channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
            channel.queue_declare(queue, durable=True, auto_delete=False,
                                  arguments={"x-queue-type": "quorum", **arguments})
            channel.queue_bind(queue, exchange, routing_key)

    def program(self, *command: str) -> Program:
        """Start a program and wait for its hello."""
        started = Program(command, {"HUB_HOME": str(self.home)})
        self._programs.append(started)
        return started

    # --- the product ----------------------------------------------------------------------------------------------

    def environ(self, rooms: Sequence[str]) -> dict[str, str]:
        """Return what every room is told."""
        plugged = str(self.home / "plugins")
        return {"HUB_HOME": str(self.home), "AMQP_URI": self.amqp_uri, "PYTHONPATH": f"{ROOT}:{plugged}",
                "HUB_LOG_LEVEL": "INFO", **{f"DB_URI_{room.upper()}": self.db_uri(room) for room in rooms}}

    def make_databases(self, rooms: Sequence[str]) -> None:
        """Make the keys of a hub and the rooms' databases."""
        if not (self.home / "keys").exists():
            (self.home / "keys").mkdir(mode=0o700)
            MasterKey.create(self.home / "keys" / "master.key")
            make_signing_key(self.home / "keys" / "tokens", self.home / "keys" / "gateway-signing.pem")
        for room in rooms:
            migrations.upgrade(room, self.db_uri(room))

    def start_product(self, rooms: Sequence[str] = ROOMS, **settings: str) -> Door:
        """Start the rooms and the gateway as processes, with these settings; return the gateway, signed in."""
        adapter.plug_in(self.home / "plugins")
        self.make_databases(rooms)
        environ = self.environ(rooms)
        made = subprocess.run([sys.executable, "-m", "services.identity.first_admin"], cwd=ROOT, env=environ,
                              check=True, capture_output=True, text=True)
        password = next(line.split(": ")[1] for line in made.stdout.splitlines() if line.startswith("password: "))
        port = free_port()
        self._environ = environ | {"GATEWAY_LISTEN": f"127.0.0.1:{port}", **UNLIMITED, **settings}
        for room in (*rooms, "gateway"):
            self.rooms[room] = self.start_room(room)
        for process in self.rooms.values():
            process.wait_ready(60)
        door = Door(port)
        door.sign_in("admin", password)
        return door

    def start_room(self, room: str) -> Process:
        """Start a process of a room of the product; a second one works beside the first."""
        address = f"127.0.0.1:{free_port()}"
        launcher = "bench.traced" if self._traced else "chassis.launcher"
        process = self.processes.start(room, [sys.executable, "-m", launcher, room],
                                       self._environ | {f"HEALTH_ADDRESS_{room.upper()}": address})
        process.health_url = f"http://{address}"
        return process

    def connect_target(self, door: Door) -> None:
        """Plug the target into the hub and pull its product."""
        config = {"base_url": f"http://127.0.0.1:{self.target_port}", "allow_private": ["127.0.0.0/8"]}
        made = door.ask("POST", "/connections", {"name": "Bench", "kind": "erp", "adapter": "bench", "config": config})
        door.ask("PUT", f"/connections/{made['id']}/credential", {"secrets": {"key": "none"}})
        checked = door.ask("POST", f"/connections/{made['id']}/check")
        assert checked["ok"], checked
        for entity, direction in (("product", "pull"), ("customer", "push"), ("order", "push")):
            route = door.ask("POST", "/routes", {"connection_id": made["id"], "entity": entity, "direction": direction})
            door.ask("POST", f"/routes/{route['id']}/activate")
        deadline = time.monotonic() + 30
        while not door.ask("GET", "/products")["items"]:
            assert time.monotonic() < deadline, "the target's product did not arrive"
            time.sleep(0.1)

    def arrival_ns(self, line: Line, key: str) -> int:
        """Return when a key arrived at the target; waits for it."""
        answer = line.ask(request("GET", f"/arrivals/{key}"))
        assert answer.status == 200, f"{key} did not arrive at the target"
        return int(json.loads(answer.body)["at_ns"])
