"""The door of the lab, its tables and its settings."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import eventlet
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chassis import outbox
from chassis.config import Settings
from chassis.database import NAMING, new_id
from chassis.entrypoints import Call, Heard, Service, exposes, hears
from chassis.projection import keep_newest
from chassis.snapshot import Item, SnapshotSource
from contracts import errors
from services.lab import contract


class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention=NAMING)


class Note(Base):
    __tablename__ = "note"
    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    version: Mapped[int]
    text: Mapped[str] = mapped_column(sa.String(200))


class Effect(Base):
    """One row per effect of a fact: twice the same name means a fact had two effects."""

    __tablename__ = "effect"
    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(80))


class Projection(Base):
    """The newest state heard of a thing."""

    __tablename__ = "projection"
    subject: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    version: Mapped[int]
    name: Mapped[str] = mapped_column(sa.String(80))


@dataclass(frozen=True, kw_only=True)
class LabSettings(Settings):
    """The common keys suffice."""


def _run(runtime: Any, what: str) -> None:
    """Remember a run outside the database, where no rollback undoes it."""
    with (runtime.settings.home / "runs.log").open("a") as file:
        file.write(f"{what}\n")


def _behave(what: str, seconds: float) -> None:
    match what:
        case "fail":
            raise ValueError("as told")
        case "block":
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                pass
        case "exit":
            os._exit(9)
        case _:
            eventlet.sleep(seconds)


def _notes(session: Session, after: str, limit: int) -> Sequence[Item]:
    found = session.execute(sa.select(Note).where(Note.id > after).order_by(Note.id).limit(limit)).scalars()
    return [Item(note.id, note.version, note) for note in found]


class LabService(Service):
    name = "lab"
    snapshots = (SnapshotSource(contract.NOTE_SNAPSHOT, _notes),)

    @exposes(contract.ADD_NOTE)
    def add_note(self, call: Call) -> Note:
        _run(call.runtime, f"add {call.request['text']}")
        if call.request["fail"] == "stock":
            raise errors.InsufficientStock("A-1 is short", sku="A-1", available="3")
        if call.request["fail"]:
            raise KeyError("the customer's phone is 13800138000")
        eventlet.sleep(call.request["hold_s"])
        note = Note(id=new_id(), version=1, text=call.request["text"])
        call.session.add(note)
        call.session.flush()
        outbox.record(call.session, contract.NOTE_ADDED, subject=note.id, version=1, data=note, by=call.subject)
        return note

    @exposes(contract.WAIT, session=False)
    def wait(self, call: Call) -> dict[str, int]:
        _run(call.runtime, "wait")
        _behave("block" if call.request["block"] else call.request["fail"], call.request["seconds"])
        return {"pid": os.getpid()}

    @exposes(contract.RING, session=False)
    def ring(self, call: Call) -> Note:
        """Call the outside, then write down that it was called."""
        _run(call.runtime, f"ring {call.request['text']}")
        _behave(call.request["fail"], call.request["seconds"])
        note = Note(id=new_id(), version=1, text=call.request["text"])
        with call.runtime.db.write() as session:
            session.add(note)
            if call.request["keep"]:
                call.keep(session, note)
        return note

    @hears(contract.THING_HAPPENED)
    def thing_happened(self, event: Heard) -> None:
        _run(event.runtime, f"heard {event.data['name']}")
        _behave(event.data["behave"], event.data["seconds"])
        event.session.add(Effect(id=new_id(), name=event.data["name"]))

    @hears(contract.GOSSIP)
    def gossip(self, event: Heard) -> None:
        event.session.add(Effect(id=new_id(), name=f"gossip {event.data['text']}"))

    @hears(contract.THING_CHANGED)
    def thing_changed(self, event: Heard) -> None:
        keep_newest(event.session, Projection, {"subject": event.envelope.subject}, event.envelope.entityversion,
                    {"name": event.data["name"]})


SERVICE, SETTINGS, BASE = LabService, LabSettings, Base
