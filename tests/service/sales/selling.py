"""A sales room on a real broker, and short ways to say what customers and the ERP tell it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from kombu import Connection, Exchange
from sqlalchemy import event, select
from sqlalchemy.orm import selectinload

from chassis.context import Subject
from chassis.database import Database, new_id, utcnow
from chassis.inbox import INBOX
from chassis.outbox import OUTBOX
from contracts import customers, integrations
from contracts import sales as contract
from contracts.envelope import CONTENT_TYPE, Envelope
from contracts.event import EventType
from contracts.schema import pack
from services.sales.models import Base, CustomerRef, Order, Product, Reservation
from tests.support.processes import eventually
from tests.support.rooms import ADMIN, PATIENT, Rooms, forget

ERP = new_id()
MIDNIGHT = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)


def told(event: EventType, subject: str, version: int, data: Any) -> Envelope:
    """Return an event as its service would announce it."""
    return Envelope(id=new_id(), source=f"/{event.service}", type=event.type, subject=subject, time=utcnow(),
                    entityversion=version, data=pack(event.data, data))


def customer_told(customer_id: str, version: int = 1, event: EventType = customers.CUSTOMER_CREATED,
                  **more: Any) -> Envelope:
    """Return what customers announces of a customer."""
    now = utcnow()
    data = {"id": customer_id, "version": version, "name": f"v{version}", "kind": "person", "phone": "+8613800138000",
            "email": None, "wechat_id": None, "lifecycle": "prospect", "owner_id": None, "team_id": None,
            "created_by": customer_id, "created_at": now, "updated_at": now, "changed": []}
    return told(event, customer_id, version, data | more)


def product_told(sku: str, minute: int = 0, *, external_id: str | None = None, deleted: bool = False,
                 version: int | None = None, **record: Any) -> Envelope:
    """Return what integrations announces of a product of the ERP, as it was `minute` minutes past midnight.

    The version of the record rises with the minutes unless it is given.
    """
    as_of = MIDNIGHT + dt.timedelta(minutes=minute)
    state = {"sku": sku, "name": f"Product {sku}", "price": "199.00", "currency": "CNY", "category": None,
             "active": True, "on_hand": "10", "as_of": as_of.isoformat()}
    data = {"connection_id": ERP, "connection": "erp", "entity": "product", "external_id": external_id or sku,
            "keys": {}, "record": {} if deleted else state | record, "deleted": deleted, "remote_version": str(minute),
            "seen_at": as_of}
    return told(integrations.EXTERNAL_CHANGED, data["external_id"], minute + 1 if version is None else version, data)


def shipment(external_id: str, state: str = "waiting", minute: int | None = None, **lines: str) -> dict[str, Any]:
    """Return a shipment of the ERP, by SKU with `_` for `-`; with a minute past midnight, its goods left then."""
    left_at = (MIDNIGHT + dt.timedelta(minutes=minute)).isoformat() if minute is not None else None
    return {"external_id": external_id, "number": f"S-{external_id}", "done_at": left_at,
            "state": "done" if left_at else state,
            "lines": [{"sku": sku.replace("_", "-"), "quantity": quantity} for sku, quantity in lines.items()]}


def sale_told(order_id: str | None, version: int = 1, *shipments: dict[str, Any], sale: str = "7",
              deleted: bool = False, **record: Any) -> Envelope:
    """Return what integrations announces of a sale of the ERP, which is the order with this id.

    All of it counts as sent once each of its shipments is done or cancelled, unless the record says otherwise.
    """
    over = shipments and all(one["state"] in ("done", "cancelled") for one in shipments)
    state = {"id": None, "number": f"SALE-{sale}", "state": "processing", "invoice_state": "pending",
             "shipment_state": "sent" if over else "waiting", "shipments": list(shipments)}
    data = {"connection_id": ERP, "connection": "erp", "entity": "order", "external_id": sale,
            "keys": {"id": order_id} if order_id else {}, "record": {} if deleted else state | record,
            "deleted": deleted, "remote_version": str(version), "seen_at": MIDNIGHT}
    return told(integrations.EXTERNAL_CHANGED, sale, version, data)


class Selling:
    """The sales room, and whoever asks it.

    Args:
        rooms: the hub that it is part of; the room itself may run in this process or in others.
        amqp_uri: where events are published.
        db: the room's database.
    """

    def __init__(self, rooms: Rooms, amqp_uri: str, db: Database) -> None:
        self.rooms, self.amqp_uri, self.db = rooms, amqp_uri, db
        self.call, self.ask = rooms.call, rooms.ask
        self._past: set[str] = set()
        assert rooms.caller, "its runtime installs the keys with which events are sealed here"

    @classmethod
    def started(cls, home: Path, amqp_uri: str, db_uri: str) -> Self:
        """Start the room in this process."""
        rooms = Rooms(home, amqp_uri, DB_URI_SALES=db_uri)
        rooms.patience = PATIENT
        return cls(rooms, amqp_uri, rooms.start("sales").runtime.db)

    def clear(self) -> None:
        """Forget all that a test has told and asked, and stop whatever it started beside sales."""
        for room in {*self.rooms.running} - {"sales", "asker"}:
            self.rooms.stop(room)
        self._past = forget(self.db, Base.metadata)

    def hear(self, *envelopes: Envelope) -> None:
        """Publish events as other services would, and wait until sales has met each."""
        self.publish(envelopes)
        wanted = {envelope.id for envelope in envelopes}
        eventually(lambda: wanted <= self._met(), 30)

    def publish(self, envelopes: Iterable[Envelope]) -> None:
        """Publish events as other services would."""
        with Connection(self.amqp_uri, connect_timeout=30, transport_options={"confirm_publish": True}) as connection:
            producer = connection.Producer()
            for envelope in envelopes:
                producer.publish(json.dumps(envelope.to_wire()), routing_key=envelope.routing_key,
                                 exchange=Exchange(f"{envelope.service}.events", type="topic", durable=True),
                                 content_type=CONTENT_TYPE, content_encoding="utf-8")

    def _met(self) -> set[str]:
        with self.db.read() as session:
            return set(session.scalars(select(INBOX.c.event_id)))

    def customer(self, **more: Any) -> str:
        """Have a customer known here; return the id."""
        customer_id = new_id()
        self.hear(customer_told(customer_id, **more))
        return customer_id

    def draft(self, customer_id: str, *lines: tuple[str, str], subject: Subject = ADMIN, **more: Any) -> dict[str, Any]:
        """Draft an order of (sku, quantity) lines."""
        asked = {"customer_id": customer_id, "currency": "CNY",
                 "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines]}
        order: dict[str, Any] = self.call(contract.CREATE_ORDER, asked | more, subject=subject)
        return order

    def confirm(self, order: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Confirm an order."""
        answer: dict[str, Any] = self.call(contract.CONFIRM_ORDER, {"id": order["id"]}, **options)
        return answer

    def announced(self, routing_key: str = "") -> list[dict[str, Any]]:
        """Return the envelopes that sales has announced in this test, oldest first."""
        with self.db.read() as session:
            rows = session.execute(select(OUTBOX).order_by(OUTBOX.c.id)).all()
        return [json.loads(row.body) for row in rows
                if row.id not in self._past and row.routing_key.startswith(routing_key)]

    def product(self, sku: str) -> Product:
        """Return a product as it is kept."""
        with self.db.read() as session:
            return session.scalars(select(Product).where(Product.sku == sku)).one()

    def customer_ref(self, customer_id: str) -> CustomerRef | None:
        """Return the small copy of a customer."""
        with self.db.read() as session:
            return session.get(CustomerRef, customer_id)

    def order(self, order_id: str) -> Order:
        """Return an order as it is kept."""
        with self.db.read() as session:
            return session.scalars(select(Order).where(Order.id == order_id).options(selectinload(Order.lines))).one()

    def reservations(self, *, still_open: bool = True) -> list[Reservation]:
        """Return what is held, or with `still_open` off, what was."""
        with self.db.read() as session:
            return list(session.scalars(select(Reservation).where(Reservation.released_at.is_(None) == still_open)))


class Statements:
    """The SQL statements of one mutating call, transaction control left out; other greenlets' are not counted."""

    def __init__(self, db: Database) -> None:
        self._engine = db.engine
        self._ours: Any = None
        self.seen: list[str] = []

    def __enter__(self) -> Statements:
        event.listen(self._engine, "before_cursor_execute", self._see)
        event.listen(self._engine, "commit", self._end)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._see)
        event.remove(self._engine, "commit", self._end)

    def _see(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO idempotency"):
            self._ours = connection
        if connection is self._ours:
            self.seen.append(" ".join(statement.split())[:90])

    def _end(self, connection: Any) -> None:
        if connection is self._ours:
            self._ours = None
