"""Giving out what was passed over: a ticket that somebody held at the moment when its queue gave out the others."""

from __future__ import annotations

import threading

from chassis import telemetry
from chassis.context import Subject
from chassis.database import Database
from contracts import tickets as contract
from contracts.errors import Unavailable
from services.tickets.domain import queues as domain
from services.tickets.models import Queue
from services.tickets.operations import assignment
from services.tickets.queries import queues

log = telemetry.logger(__name__)

US = Subject.service(contract.SERVICE)
LOOK_EVERY_S = 2.0
"""Longest that a ticket waits although its queue has somebody with room."""


class Upkeep:
    """Background work of the tickets service."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look every so often, until stopped."""
        while not self._stopped.wait(LOOK_EVERY_S):
            try:
                self._give_out()
            except Unavailable as error:
                log.warning("upkeep_postponed", reason=error.message)

    def stop(self) -> None:
        """End `run` at once."""
        self._stopped.set()

    def _give_out(self) -> None:
        with self._db.read() as session:
            found = session.scalars(queues.with_waiting()).all()
            ids = [queue.id for queue in found if _somebody_has_room(queue, queues.loads(session, queue.id))]
        for id in ids:
            with self._db.write() as session:
                assignment.give_out(session, id, US)


def _somebody_has_room(queue: Queue, loads: dict[str, int]) -> bool:
    return any(domain.has_room(loads.get(user, 0), queue.max_open) for user in queue.members)
