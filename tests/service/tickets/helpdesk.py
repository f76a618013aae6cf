"""A tickets room on a real broker, and short ways to ask it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from chassis.context import Subject
from chassis.database import new_id
from contracts import tickets as contract
from contracts.depth import Depth
from services.tickets.models import CustomerRef
from tests.service.sales.selling import Selling
from tests.support.rooms import ADMIN, PATIENT, Rooms


def agent(depth: Depth = "own", *teams: str, below: Iterable[str] = (), **depths: Depth) -> Subject:
    """Somebody who may do everything to tickets and queues at one depth; `depths` says otherwise of an entity."""
    rights = {entity: {"*": depths.get(entity, depth)} for entity in ("ticket", "queue", "task", "customer")}
    return Subject(id=new_id(), kind="user", name="agent", teams=teams, tree=(*teams, *below), depths=rights)


class HelpDesk(Selling):
    """The tickets room, and whoever asks it; what other rooms tell is published as it is to sales."""

    @classmethod
    def started(cls, home: Path, amqp_uri: str, db_uri: str) -> Self:
        """Start the room in this process."""
        rooms = Rooms(home, amqp_uri, DB_URI_TICKETS=db_uri)
        rooms.patience = PATIENT
        return cls(rooms, amqp_uri, rooms.start("tickets").runtime.db)

    def ticket(self, by: Subject = ADMIN, **more: Any) -> dict[str, Any]:
        """Open a ticket."""
        made: dict[str, Any] = self.call(contract.CREATE_TICKET, {"subject": "The pump stops"} | more, subject=by)
        return made

    def read(self, ticket: dict[str, Any], by: Subject = ADMIN) -> dict[str, Any]:
        """Read a ticket."""
        found: dict[str, Any] = self.call(contract.GET_TICKET, {"id": ticket["id"]}, subject=by)
        return found

    def move(self, ticket: dict[str, Any], *states: str, by: Subject = ADMIN) -> dict[str, Any]:
        """Move a ticket through states, with a resolution where one is needed."""
        moved = ticket
        for status in states:
            more = {"resolution": "A new seal"} if status == "resolved" else {}
            moved = self.call(contract.SET_TICKET_STATUS, {"id": ticket["id"], "status": status} | more, subject=by)
        return moved

    def say(self, ticket: dict[str, Any], direction: str = "outbound", by: Subject = ADMIN,
            **more: Any) -> dict[str, Any]:
        """Add a message."""
        said: dict[str, Any] = self.call(contract.ADD_MESSAGE, {"id": ticket["id"], "body": "Hello",
                                                                "direction": direction} | more, subject=by)
        return said

    def queue(self, *members: Subject, **more: Any) -> dict[str, Any]:
        """Make a queue of some agents."""
        asked = {"name": new_id(), "members": [member.id for member in members]}
        made: dict[str, Any] = self.call(contract.CREATE_QUEUE, asked | more)
        return made

    def told_of(self, ticket: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the envelopes about a ticket, oldest first."""
        return [envelope for envelope in self.announced("ticket.") if envelope["subject"] == ticket["id"]]

    def said_of(self, ticket: dict[str, Any]) -> list[str]:
        """Return what the events about a ticket tell, oldest first."""
        return [envelope["type"].removeprefix("tickets.ticket.") for envelope in self.told_of(ticket)]

    def known(self, customer_id: str) -> CustomerRef | None:
        """Return the small copy of a customer."""
        with self.db.read() as session:
            return session.get(CustomerRef, customer_id)
