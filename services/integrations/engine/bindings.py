"""Binding a record by hand: what is to be ours is looked at first, between two transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.crypto import Keyring
from chassis.database import Database, utcnow
from services.integrations.engine import looks
from services.integrations.models import Binding
from services.integrations.operations import bindings as operations
from services.integrations.queries import connections


def bind(db: Database, keyring: Keyring, request: Mapping[str, Any], deadline_s: float, *, by: Subject,
         keep: Callable[[Session, object], None]) -> Binding:
    """Bind our record to the one that a person has found at the target, if it is there; return the binding.

    Raises:
        NotFound: there is no such connection in the caller's sight, or no such record of ours.
        Invalid: the adapter knows no such entity, or the target has no such record.
        AlreadyExists: one of the two is bound to another.
        Conflict: the target could not be asked, or what becomes of our record there is not known yet.
    """
    with db.read() as session:
        connection = connections.get(session, request["id"], by, "operate")
        operations.require_carried(connection, request["entity"])
    place = (connection.id, request["entity"], request["external_id"])
    remote = operations.required(looks.look(db, keyring, place, deadline_s))
    with db.write() as session:
        bound = operations.bind(session, request, remote, utcnow(), by=by)
        keep(session, bound)
        session.expunge(bound)
        return bound
