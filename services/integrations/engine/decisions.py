"""Deciding a conflict. To keep what the target has, the target is asked for it: between two transactions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.crypto import Keyring
from chassis.database import Database, utcnow
from contracts.errors import Conflict as Refused
from services.integrations.engine import looks
from services.integrations.models import Conflict
from services.integrations.operations import conflicts as operations
from services.integrations.operations.inbound import GONE, News, Place
from services.integrations.operations.locks import lock
from services.integrations.queries import conflicts, lanes, sightings, walks

READINGS = 3
"""How often the target is asked, should something newer be taken in each time before its answer is."""


def decide(db: Database, keyring: Keyring, request: Mapping[str, Any], deadline_s: float, *, by: Subject,
           keep: Callable[[Session, object], None]) -> tuple[Conflict, list[str]]:
    """Decide a conflict as `request` says; return it, and the connections that have work now.

    Raises:
        NotFound: there is none, or it is out of reach.
        InvalidTransition: it was decided already.
        Conflict: such a conflict is not decided so, the target could not be asked, there is nothing to keep, or the
            record does not stand still.
    """
    with db.read() as session:
        conflict = conflicts.get(session, request["id"], by, "operate")
        operations.require_open(conflict)
        operations.require_possible(conflict, request["resolution"])
        place = (conflict.connection_id, conflict.entity, conflict.external_id)
        local_id = conflict.local_id
    until = time.monotonic() + deadline_s
    for _ in range(READINGS):
        before, found = None, None
        if request["resolution"] == "keep_remote":
            with db.read() as session:
                before = sightings.mark(session, place)
            found = _ask(db, keyring, place, max(until - time.monotonic(), 0.1))
        with db.write() as session:
            # Locked, so that an event of the record is wholly before the decision or wholly behind it.
            session.execute(*walks.locked(place[1], [local_id] if local_id else [])).all()
            lock(session, [place[0]])
            conflict = conflicts.get(session, request["id"], by, "operate", locked=True)
            operations.require_open(conflict)
            operations.require_possible(conflict, request["resolution"])
            if found is not None and sightings.mark(session, place) != before:
                continue  # a poll, a message or a write of ours came in between: what we hold may be older
            return _settled(session, conflict, request, found, by, keep)
    raise Refused("The record changes there time and again: decide once more in a moment")


def _settled(session: Session, conflict: Conflict, request: Mapping[str, Any], found: News | None, by: Subject,
             keep: Callable[[Session, object], None]) -> tuple[Conflict, list[str]]:
    now = utcnow()
    woken = [operations.keep_local(session, conflict, now)] if request["resolution"] == "keep_local" else []
    if found is not None:
        _require_still(session, conflict)
        operations.keep_remote(session, conflict, found, now)
    decided = operations.resolved(session, conflict, request, now, by=by)
    keep(session, decided)
    session.expunge(decided)
    return decided, woken


def _require_still(session: Session, conflict: Conflict) -> None:
    """Raise while a call of ours may change the record there after it was read.

    Raises:
        Conflict: one is on its way, or nobody knows yet whether it arrived.
    """
    if conflict.local_id and lanes.in_flight(session, [(conflict.connection_id, conflict.entity, conflict.local_id)]):
        raise Refused("A delivery of the record is on its way: decide once it has come to its end")


def _ask(db: Database, keyring: Keyring, place: Place, deadline_s: float) -> News:
    """Return the record as it stands at the target now."""
    remote = looks.look(db, keyring, place, deadline_s)
    if remote is None:
        return News(external_id=place[2], version=GONE, record={}, deleted=True)
    return News(external_id=place[2], version=remote.version or GONE, record=remote.body)
