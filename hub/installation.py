"""Where this hub keeps its things, which programs it is made of, and the addresses they listen on."""

from __future__ import annotations

import configparser
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from deploy.local.broker import Broker
from hub.trouble import Trouble

API = "/api/v1"
"""Where the gateway's API begins."""
ROOT = Path(__file__).resolve().parents[1]
PROCESS_FILE = ROOT / "deploy" / "local" / "supervisord.conf"
FIRST_HEALTH_PORT = 8181
DEFAULT_HUB_PORT = 8080
SANDBOX_PORTS = {"tryton": ("HUB_TRYTON_PORT", 8010), "radicale": ("HUB_RADICALE_PORT", 5232)}
"""Where each sandbox listens: the setting that moves it, and the port without it."""
LAUNCHER = "-m chassis.launcher"


@dataclass(frozen=True, kw_only=True)
class Program:
    """One section of the process file."""

    name: str
    command: str
    priority: int
    group: str

    @property
    def room(self) -> str | None:
        """The room that it runs, None when it runs something else."""
        return self.command.split()[-1] if LAUNCHER in self.command else None

    @property
    def full_name(self) -> str:
        """What supervisord calls it: `group:name`."""
        return f"{self.group}:{self.name}"


@dataclass(frozen=True)
class Installation:
    """One hub on one machine, as the environment describes it."""

    environ: Mapping[str, str]

    @classmethod
    def here(cls) -> Self:
        """The hub that this process' environment speaks of."""
        return cls(dict(os.environ))

    @cached_property
    def home(self) -> Path:
        """`HUB_HOME`, absolute."""
        return Path(self.environ.get("HUB_HOME") or ".hub").absolute()

    @cached_property
    def broker(self) -> Broker:
        """The private node of this hub, whether it is used or not."""
        return Broker.from_environ({**self.environ, "HUB_HOME": str(self.home)})

    @property
    def own_broker(self) -> bool:
        """False when `AMQP_URI` points to a broker that somebody else looks after."""
        return not self.environ.get("AMQP_URI")

    @property
    def amqp_uri(self) -> str:
        """The broker that the rooms talk to; makes the private node's password if there is none yet."""
        return self.environ.get("AMQP_URI") or self.broker.uri()

    # -- programs -----------------------------------------------------------------------------------------------------

    @cached_property
    def process_file(self) -> Path:
        """The template of the process file: `HUB_PROCESS_FILE`, or the one in deploy/local."""
        return Path(self.environ.get("HUB_PROCESS_FILE") or PROCESS_FILE)

    @cached_property
    def programs(self) -> dict[str, Program]:
        """Every program of the process file by name, in starting order; without `broker` when somebody else's is used.

        Raises:
            Trouble: the process file cannot be read.
        """
        parser = configparser.RawConfigParser(comment_prefixes=(";", "#"))
        try:
            parser.read_string(self.process_file.read_text(encoding="utf-8"))
        except (OSError, configparser.Error) as error:
            text = f"{self.process_file} cannot be read ({error})"
            raise Trouble(text, "restore it, or unset HUB_PROCESS_FILE") from error
        groups = {
            member.strip(): section.removeprefix("group:")
            for section in parser.sections()
            if section.startswith("group:")
            for member in parser[section]["programs"].split(",")
        }
        programs = [
            Program(
                name=name,
                command=parser[section]["command"],
                priority=parser.getint(section, "priority", fallback=999),
                group=groups.get(name, name),
            )
            for section in parser.sections()
            if (name := section.removeprefix("program:")) != section
        ]
        kept = (program for program in programs if program.name != "broker" or self.own_broker)
        return {program.name: program for program in sorted(kept, key=lambda program: program.priority)}

    @property
    def rooms(self) -> tuple[str, ...]:
        """The rooms of this machine, in starting order."""
        return tuple(program.room for program in self.programs.values() if program.room)

    def wanted(self, extras: tuple[str, ...] = ()) -> list[Program]:
        """The programs to start: all but the sandbox group, and of that what `extras` names.

        Raises:
            Trouble: there is no such sandbox.
        """
        sandboxes = [program.name for program in self.programs.values() if program.group == "sandbox"]
        for name in extras:
            if name not in sandboxes:
                raise Trouble(f"there is no sandbox {name!r}", f"choose of: {', '.join(sandboxes) or 'none'}")
        return [p for p in self.programs.values() if p.group != "sandbox" or p.name in extras]

    # -- addresses ----------------------------------------------------------------------------------------------------

    @property
    def gateway_address(self) -> str:
        """host:port of the HTTP door: `GATEWAY_LISTEN`, or `HUB_PORT` on loopback."""
        return self.environ.get("GATEWAY_LISTEN") or f"127.0.0.1:{self._port('HUB_PORT', DEFAULT_HUB_PORT)}"

    @property
    def url(self) -> str:
        """The hub's address for people on this machine."""
        host, _, port = self.gateway_address.rpartition(":")
        return f"http://{'127.0.0.1' if host in {'', '0.0.0.0', '::', '[::]'} else host}:{port}"  # noqa: S104

    def health_address(self, room: str) -> str:
        """host:port of a room's health pages: `HEALTH_ADDRESS_<ROOM>`, or 8181 and up in starting order."""
        own = self.environ.get(f"HEALTH_ADDRESS_{room.upper()}")
        return own or f"127.0.0.1:{FIRST_HEALTH_PORT + self.rooms.index(room)}"

    def ports(self, program: Program) -> dict[int, str]:
        """The TCP ports that a program listens on, each with the setting that moves it."""
        if program.name == "broker":
            return dict.fromkeys(self.broker.ports().values(), "HUB_BROKER_PORT")
        if program.name in SANDBOX_PORTS:
            variable, default = SANDBOX_PORTS[program.name]
            return {self._port(variable, default): variable}
        room = program.room
        ports = {_port_of(self.health_address(room)): f"HEALTH_ADDRESS_{room.upper()}"} if room else {}
        if room == "gateway":
            own = "GATEWAY_LISTEN" if self.environ.get("GATEWAY_LISTEN") else "HUB_PORT"
            ports[_port_of(self.gateway_address)] = own
        return ports

    def _port(self, variable: str, default: int) -> int:
        try:
            return int(self.environ.get(variable) or default)
        except ValueError:
            raise Trouble(f"{variable} is not a port: {self.environ[variable]!r}", "set it to a number") from None

    # -- what the programs are told -----------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """The environment of every program: ours, with the addresses filled in and the folder made absolute."""
        addresses = {f"HEALTH_ADDRESS_{room.upper()}": self.health_address(room) for room in self.rooms}
        return {
            **self.environ,
            **addresses,
            "HUB_HOME": str(self.home),
            "HUB_SUPERVISED": str(self.home),
            "AMQP_URI": self.amqp_uri,
            "GATEWAY_LISTEN": self.gateway_address,
            "PYTHONUNBUFFERED": "1",
        }

    def fingerprint(self) -> str:
        """Tells whether two calls of `hub up` would tell the programs the same."""
        ours = (*_OURS, *(f"{room.upper()}_" for room in self.rooms))
        told = {k: v for k, v in self.environment().items() if k.startswith(ours)}
        return hashlib.sha256(repr(sorted(told.items())).encode()).hexdigest()


_OURS = ("HUB_", "HEALTH_", "AMQP_", "DB_URI_", "MAX_WORKERS_", "EVENT_", "DELIVERY_LIMIT_", "RPC_", "OUTBOX_",
         "INBOX_", "IDEMPOTENCY_")  # fmt: skip


def _port_of(address: str) -> int:
    port = address.rpartition(":")[2]
    if not port.isdigit():
        raise Trouble(f"{address!r} is not an address", "write host:port")
    return int(port)
