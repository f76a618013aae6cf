"""What this service tells the others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from chassis import outbox
from chassis.context import Subject
from chassis.database import now_of
from chassis.outbox import Announcement
from contracts.integrations import CONNECTION_HEALTH_CHANGED, DELIVERY_SETTLED
from services.integrations.models import Connection
from services.integrations.operations import measures
from services.integrations.queries.lanes import Lane

US = Subject.service("integrations")
"""Who settles deliveries: nobody's request, the service's own deferred work."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A delivery that has come to its end."""

    id: str
    lane: Lane
    version: int
    state: str
    external_id: str | None = None
    error_class: str | None = None
    error: str | None = None
    traceparent: str = ""
    accepted_at: dt.datetime | None = None


def deliveries_settled(session: Session, settled: Sequence[Settled]) -> None:
    """Announce each end."""
    names = _names(session, {one.lane[0] for one in settled})
    outbox.record_all(session, DELIVERY_SETTLED, by=US,
                      announcements=[Announcement(one.id, 1, _told(one, names), one.traceparent)
                                     for one in settled])
    measures.settled(session, settled, names, now_of(session))


def _told(one: Settled, names: Mapping[str, str]) -> dict[str, Any]:
    connection_id, entity, local_id = one.lane
    return {"delivery_id": one.id, "connection_id": connection_id, "connection": names[connection_id],
            "entity": entity, "local_id": local_id, "source_version": one.version, "external_id": one.external_id,
            "state": one.state, "error_class": one.error_class, "error": one.error}


def _names(session: Session, ids: Collection[str]) -> dict[str, str]:
    # The engine has locked them for its turn, so they are at hand; only a sweep has to ask.
    return {id: session.get_one(Connection, id).name for id in ids}


def health_changed(session: Session, connection: Any, by: Any = US, *, reason: str | None = None) -> None:
    """Announce what is wanted of a connection and what is seen of it, under a number of its own that always rises."""
    connection.health_version += 1
    told = {"connection_id": connection.id, "name": connection.name, "desired_state": connection.desired_state,
            "health": connection.health, "reason": reason or connection.pause_reason}
    outbox.record(session, CONNECTION_HEALTH_CHANGED, subject=connection.id, version=connection.health_version, by=by,
                  data=told)
