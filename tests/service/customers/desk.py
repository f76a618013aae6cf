"""A customers room on a real broker, and short ways to say what other rooms and systems tell it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kombu import Connection, Exchange
from sqlalchemy import select

from chassis.context import Subject
from chassis.database import Database, new_id, utcnow
from chassis.inbox import INBOX
from chassis.outbox import OUTBOX
from contracts import customers as contract
from contracts import integrations
from contracts.depth import Depth
from contracts.envelope import CONTENT_TYPE, Envelope
from contracts.event import EventType
from contracts.schema import pack
from tests.support.processes import eventually
from tests.support.rooms import ADMIN, PATIENT, Rooms

CALENDAR = "Calendars"


def person(depth: Depth = "own", *teams: str, below: Iterable[str] = (), **depths: Depth) -> Subject:
    """Somebody who may do everything to customers, tasks and activities at one depth; `depths` says otherwise."""
    rights = {entity: {"*": depths.get(entity, depth)} for entity in ("customer", "task", "activity")}
    return Subject(id=new_id(), kind="user", name="person", teams=teams, tree=(*teams, *below), depths=rights)


def told(event: EventType, subject: str, version: int, data: Any) -> Envelope:
    """Return an event as its service would announce it."""
    return Envelope(id=new_id(), source=f"/{event.service}", type=event.type, subject=subject, time=utcnow(),
                    entityversion=version, data=pack(event.data, data))


class There:
    """One record of another system, and what integrations announces of it."""

    def __init__(self, entity: str, local_id: str | None = None, account: str | None = None) -> None:
        self.entity, self.connection_id, self.external_id = entity, new_id(), f"{new_id()}@calendar"
        self.keys = {name: id for name, id in (("id", local_id), ("account_user_id", account)) if id}

    def says(self, version: int, changed: Iterable[str] | None = None, *, deleted: bool = False,
             **record: Any) -> Envelope:
        """Return the announcement of the record's `version`-th change."""
        return told(integrations.EXTERNAL_CHANGED, self.external_id, version, {
            "connection_id": self.connection_id, "connection": CALENDAR, "entity": self.entity,
            "external_id": self.external_id, "keys": self.keys, "record": record, "deleted": deleted,
            "changed": None if changed is None else list(changed), "remote_version": f"etag-{version}",
            "seen_at": utcnow()})


class Desk:
    """The customers room, and whoever asks it."""

    def __init__(self, home: Path, amqp_uri: str, db_uri: str) -> None:
        self.rooms, self.amqp_uri = Rooms(home, amqp_uri, DB_URI_CUSTOMERS=db_uri), amqp_uri
        self.rooms.patience = PATIENT
        self.db: Database = self.rooms.start("customers").runtime.db
        self.call, self.ask = self.rooms.call, self.rooms.ask
        assert self.rooms.caller, "its runtime installs the keys with which events are sealed here"

    def customer(self, by: Subject = ADMIN, **more: Any) -> dict[str, Any]:
        """Make a customer."""
        made: dict[str, Any] = self.call(contract.CREATE_CUSTOMER, {"name": "李雷", "wechat_id": "lilei"} | more,
                                         subject=by)
        return made

    def contact(self, **more: Any) -> dict[str, Any]:
        """Make a contact of a customer of its own."""
        made: dict[str, Any] = self.call(contract.CREATE_CONTACT, {"customer_id": self.customer()["id"], "name": "A",
                                                                   "email": "a@example.com"} | more)
        return made

    def task(self, by: Subject = ADMIN, **more: Any) -> dict[str, Any]:
        """Make a task."""
        made: dict[str, Any] = self.call(contract.CREATE_TASK, {"title": "Call back"} | more, subject=by)
        return made

    def read(self, task: str | dict[str, Any], by: Subject = ADMIN) -> dict[str, Any]:
        """Read a task."""
        found: dict[str, Any] = self.call(contract.GET_TASK, {"id": task if isinstance(task, str) else task["id"]},
                                          subject=by)
        return found

    def hear(self, *envelopes: Envelope) -> None:
        """Publish events as other rooms would, one at a time, each once the room has met the one before."""
        for envelope in envelopes:
            self.flood([envelope])

    def flood(self, envelopes: Iterable[Envelope]) -> None:
        """Publish events all at once, and wait until the room has met each."""
        wanted = set()
        with Connection(self.amqp_uri, connect_timeout=30) as connection:
            producer = connection.Producer()
            for envelope in envelopes:
                wanted.add(envelope.id)
                producer.publish(json.dumps(envelope.to_wire()), routing_key=envelope.routing_key,
                                 exchange=Exchange(f"{envelope.service}.events", type="topic", durable=True),
                                 content_type=CONTENT_TYPE, content_encoding="utf-8")
        eventually(lambda: wanted <= self._met(), 30)

    def _met(self) -> set[str]:
        with self.db.read() as session:
            return set(session.scalars(select(INBOX.c.event_id)))

    def announced(self, subject: str) -> list[dict[str, Any]]:
        """Return the envelopes about one record, oldest first."""
        with self.db.read() as session:
            rows = session.execute(select(OUTBOX).where(OUTBOX.c.subject == subject).order_by(OUTBOX.c.id)).all()
        return [json.loads(row.body) for row in rows]

    def said(self, subject: str) -> list[str]:
        """Return the names of the events about one record, oldest first."""
        return [envelope["type"].partition(".")[2] for envelope in self.announced(subject)]
