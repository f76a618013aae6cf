"""The envelope of every event: CloudEvents 1.0, JSON structured mode (https://github.com/cloudevents/spec)."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CONTENT_TYPE = "application/cloudevents+json"
_TYPE = re.compile(r"^[a-z_]+(\.[a-z_]+){2,3}$")


class MalformedEnvelope(ValueError):
    """A message is not a CloudEvent that this hub can read; it will never become one by retrying."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """One event, as it travels.

    Attributes:
        id: unique for ever; consumers deduplicate by it.
        source: the room that announces, `/customers`.
        type: `customers.customer.created`.
        subject: id of the record it is about.
        time: when the change was committed (UTC).
        entityversion: the record's version after the change; a projection drops what is not newer than it holds.
        schemaversion: of `data`.
        actor: id of who caused it. Information, never authority.
        origin: the connection that caused it, or `hub`; keeps a change from travelling back where it came from.
        traceparent, correlationid: for finding one request across services.
        data: the packed payload.
    """

    id: str
    source: str
    type: str
    subject: str
    time: dt.datetime
    entityversion: int
    schemaversion: int = 1
    actor: str = ""
    origin: str = "hub"
    traceparent: str = ""
    correlationid: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def service(self) -> str:
        """The announcing room."""
        return self.type.partition(".")[0]

    @property
    def routing_key(self) -> str:
        """The type without the service."""
        return self.type.partition(".")[2]

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON-ready structured form; empty extensions are left out, as the specification asks."""
        wire: dict[str, Any] = {
            "specversion": "1.0", "id": self.id, "source": self.source, "type": self.type, "subject": self.subject,
            "time": self.time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json", "entityversion": self.entityversion,
            "schemaversion": self.schemaversion, "origin": self.origin, "data": dict(self.data),
        }
        extensions = {"actor": self.actor, "traceparent": self.traceparent, "correlationid": self.correlationid}
        return wire | {name: value for name, value in extensions.items() if value}

    @classmethod
    def from_wire(cls, wire: object) -> Envelope:
        """Return the event that `to_wire` described; attributes this version does not know are ignored.

        Raises:
            MalformedEnvelope: it is not a CloudEvent 1.0 of ours.
        """
        if not isinstance(wire, Mapping):
            raise MalformedEnvelope("the message is not a JSON object")
        if wire.get("specversion") != "1.0":
            raise MalformedEnvelope(f"specversion is {wire.get('specversion')!r}, not '1.0'")
        try:
            event = cls(
                id=_text(wire, "id"), source=_text(wire, "source"), type=_text(wire, "type"),
                subject=_text(wire, "subject"), time=dt.datetime.fromisoformat(_text(wire, "time")),
                entityversion=_whole(wire, "entityversion"), schemaversion=_whole(wire, "schemaversion"),
                actor=str(wire.get("actor", "")), origin=str(wire.get("origin", "hub")),
                traceparent=str(wire.get("traceparent", "")), correlationid=str(wire.get("correlationid", "")),
                data=wire["data"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedEnvelope(f"attribute missing or of the wrong kind: {error}") from error
        if not _TYPE.match(event.type) or not isinstance(event.data, Mapping) or event.time.tzinfo is None:
            raise MalformedEnvelope(f"type, data or time of event {event.id} is not as agreed")
        return event


def _text(wire: Mapping[str, Any], name: str) -> str:
    value = wire[name]
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} must be text")
    return value


def _whole(wire: Mapping[str, Any], name: str) -> int:
    value = wire[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{name} must be a whole number")
    return value
