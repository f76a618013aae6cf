"""The lab room in this process or as real processes, and what a test does to it from outside."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from chassis import broker as chassis_broker
from chassis.container import HubContainer
from chassis.crypto import MasterKey, WireCodec
from chassis.database import new_id, utcnow
from chassis.outbox import OUTBOX
from contracts.envelope import CONTENT_TYPE, Envelope
from contracts.event import EventType
from contracts.schema import install_codec, pack
from services.lab import contract, service
from tests.support.broker import Management, Vhost
from tests.support.processes import ROOT, Process, Processes, eventually
from tests.support.rooms import Rooms

FIGURES: list[str] = []
"""What tests measured; printed at the end of the run."""


def measured(figure: str) -> None:
    """Print a figure at the end of the run."""
    FIGURES.append(figure)


LAB_PATH = f"{ROOT}:{Path(__file__).parent / 'lab'}"
HAPPENED = chassis_broker.event_queue(contract.THING_HAPPENED, "lab", "thing_happened").name
CHANGED = chassis_broker.event_queue(contract.THING_CHANGED, "lab", "thing_changed").name


@dataclass
class Lab:
    """One hub in which the lab runs, in this process or others, seen from outside."""

    home: Path
    vhost: Vhost
    broker: Management
    rooms: Rooms
    processes: Processes
    environ: dict[str, str]

    # -- starting -----------------------------------------------------------------------------------------------------

    def start(self, **environ: str) -> HubContainer:
        """Start the lab in this process, and the caller before it: many greenlets at once would each start one."""
        assert self.rooms.caller
        return self.rooms.start("lab", module=service, **{**self.environ, **environ})

    def process(self, *, wait_s: float | None = 30.0, **environ: str) -> Process:
        """Start the lab as a process: `python -m chassis.launcher lab`."""
        from chassis import migrations

        migrations.upgrade("lab", self.settings(**environ).db_uri)
        env = {"HUB_HOME": str(self.home), "AMQP_URI": self.vhost.amqp_uri, "PYTHONPATH": LAB_PATH}
        return self.processes.room("lab", {**env, **self.environ, **environ}, wait_s=wait_s)

    def stock(self, name: str, amqp_uri: str | None = None) -> Process:
        """Start a plain nameko service as a process."""
        program = [sys.executable, str(Path(__file__).parent / "stock.py"), name, amqp_uri or self.vhost.amqp_uri]
        return self.processes.start("stock", [*program, str(self.home / "runs.log")])

    def settings(self, **environ: str) -> service.LabSettings:
        return service.LabSettings.load("lab", {**self.rooms.environ, **self.environ, **environ})

    # -- telling it ---------------------------------------------------------------------------------------------------

    def say(self, name: str, *, event: EventType = contract.THING_HAPPENED, id: str | None = None, version: int = 1,
            subject: str = "", **data: Any) -> Envelope:
        """Publish an event of the room `outside`; return it."""
        install_codec(WireCodec(MasterKey.load(self.home / "keys" / "master.key")))
        envelope = Envelope(id=id or new_id(), source="/outside", type=event.type, subject=subject or new_id(),
                            time=utcnow(), entityversion=version, data=pack(event.data, {"name": name, **data}))
        self.publish(json.dumps(envelope.to_wire()), message_id=envelope.id, event=event)
        return envelope

    def publish(self, payload: str, *, event: EventType = contract.THING_HAPPENED, **properties: Any) -> bool:
        properties = {"content_type": CONTENT_TYPE, "content_encoding": "utf-8", "delivery_mode": 2, **properties}
        return self.broker.publish(self.vhost.name, event.exchange, event.routing_key, payload, **properties)

    def add(self, text: str = "hello", **options: Any) -> Any:
        """Add a note; `hold_s` and `fail` go into the request, the rest to the caller."""
        request = {key: options.pop(key) for key in ("hold_s", "fail") if key in options}
        return self.rooms.ask(contract.ADD_NOTE, {"text": text, **request}, **options)

    def wait(self, seconds: float = 0.0, **options: Any) -> Any:
        request = {key: options.pop(key) for key in ("block", "fail") if key in options}
        return self.rooms.call(contract.WAIT, {"seconds": seconds, **request}, **options)

    def ring(self, text: str = "hello", **options: Any) -> Any:
        """Have the lab call the outside between its transactions."""
        request = {key: options.pop(key) for key in ("seconds", "fail", "keep") if key in options}
        return self.rooms.ask(contract.RING, {"text": text, **request}, **{"timeout_s": 30, **options})

    # -- looking ------------------------------------------------------------------------------------------------------

    def runs(self, what: str = "") -> int:
        """How often something ran, by the log that no rollback undoes."""
        file = self.home / "runs.log"
        lines = file.read_text().splitlines() if file.exists() else []
        return len([line for line in lines if line.startswith(what)])

    def rows(self, statement: Any) -> list[Any]:
        """Read the lab's database past its process."""
        url = self.settings().db_uri.replace("postgresql://", "postgresql+psycopg2://")
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            return list(connection.execute(statement))

    def effects(self, name: str | None = None) -> int:
        named = sa.select(service.Effect.name)
        return len(self.rows(named.where(service.Effect.name == name) if name else named))

    def notes(self) -> list[str]:
        return [row.text for row in self.rows(sa.select(service.Note.text).order_by(service.Note.id))]

    def unsent(self) -> list[Any]:
        return self.rows(sa.select(OUTBOX).where(OUTBOX.c.sent_at.is_(None)))

    def depth(self, queue: str) -> int:
        return self.broker.depth(self.vhost.name, queue)

    def listen(self, event: EventType = contract.NOTE_ADDED, queue: str = "heard") -> Ear:
        """Bind a queue to the lab's events, as IT may."""
        from kombu import Connection, Exchange, Queue

        with Connection(self.vhost.amqp_uri, connect_timeout=30) as connection:
            exchange = Exchange(event.exchange, type="topic", durable=True)
            Queue(queue, exchange=exchange, routing_key=event.routing_key, durable=True,
                  queue_arguments={"x-queue-type": "quorum"})(connection.default_channel).declare()
        return Ear(self, queue)


@dataclass
class Ear:
    """A queue bound to events by a test."""

    lab: Lab
    queue: str

    def envelopes(self) -> list[dict[str, Any]]:
        """What has arrived so far; it stays."""
        got = self.lab.broker.messages(self.lab.vhost.name, self.queue, limit=2000)
        return [json.loads(message["payload"]) for message in got]

    def ids(self) -> list[str]:
        return [envelope["id"] for envelope in self.envelopes()]

__all__ = ["CHANGED", "FIGURES", "HAPPENED", "LAB_PATH", "Ear", "Lab", "eventually", "measured"]
