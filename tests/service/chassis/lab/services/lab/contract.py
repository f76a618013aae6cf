"""What the lab is asked, announces and hears."""

from __future__ import annotations

from marshmallow import fields

from contracts.event import EventType
from contracts.operation import Operation
from contracts.schema import Record, Request, Sensitive


class Note(Record):
    id = fields.String(required=True)
    version = fields.Integer(required=True)
    text = fields.String(required=True)


class AddNote(Request):
    text = fields.String(required=True)
    hold_s = fields.Float(load_default=0.0)
    fail = fields.String(load_default="")


class Wait(Request):
    seconds = fields.Float(load_default=0.0)
    block = fields.Boolean(load_default=False)
    fail = fields.String(load_default="")


class Ring(Request):
    text = fields.String(required=True)
    seconds = fields.Float(load_default=0.0)
    fail = fields.String(load_default="")
    keep = fields.Boolean(load_default=True)


class Waited(Record):
    pid = fields.Integer(required=True)


class Thing(Record):
    name = fields.String(required=True)
    behave = fields.String(load_default="ok")
    seconds = fields.Float(load_default=0.0)
    secret = Sensitive(load_default="")


ADD_NOTE = Operation("lab", "add_note", AddNote, Note)
WAIT = Operation("lab", "wait", Wait, Waited, mutates=False)
RING = Operation("lab", "ring", Ring, Note, timeout_s=1.7)

NOTE_ADDED = EventType("lab", "note.added", "note", Note)
NOTE_SNAPSHOT = EventType("lab", "note.snapshot", "note", Note)
GOSSIP = EventType("lab", "note.gossip", "note", Note, expects_listener=False)

THING_HAPPENED = EventType("outside", "thing.happened", "thing", Thing)
THING_CHANGED = EventType("outside", "thing.changed", "thing", Thing)
