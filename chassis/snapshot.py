"""Snapshots: on request an owner announces every record of an entity again, for new listeners and rebuilt copies.

A run is a row: it survives a restart and goes on from the last record it announced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import outbox, telemetry
from chassis.context import Subject
from chassis.database import CHASSIS, Database, UtcDateTime, after_commit, utcnow
from contracts.errors import Unavailable
from contracts.event import EventType

log = telemetry.logger(__name__)

PAGE = 200
LOOK_EVERY_S = 5.0
"""Seconds between two looks for a snapshot that a process which is gone has left unfinished."""
PAUSE_S = 0.05
"""Between pages, so that a snapshot of a million records leaves room for everyday work."""

SNAPSHOT_RUN = sa.Table(
    "snapshot_run", CHASSIS,
    sa.Column("entity", sa.String(80), primary_key=True),
    sa.Column("after_id", sa.String(80), nullable=False, comment="id of the last record announced; empty at the start"),
    sa.Column("announced", sa.Integer, nullable=False),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
)
SNAPSHOTS = "snapshots"
"""The key of a database's `info` under which the `Snapshots` of this process are found, to be told of a request."""
_OPEN = sa.select(SNAPSHOT_RUN.c.entity).where(SNAPSHOT_RUN.c.finished_at.is_(None))


@dataclass(frozen=True)
class Item:
    """One record as its owner holds it now."""

    id: str
    version: int
    data: Any


@dataclass(frozen=True)
class SnapshotSource:
    """How a service reads its records for a snapshot.

    Attributes:
        event: the `*.snapshot` event that carries one record.
        page: returns up to `limit` items with ids after the given one, in order of id.
    """

    event: EventType
    page: Callable[[Session, str, int], Sequence[Item]]


def request(session: Session, entity: str) -> None:
    """Start a snapshot of `entity`, or start the one under way again from the beginning."""
    values = {"after_id": "", "announced": 0, "requested_at": utcnow(), "finished_at": None}
    known: Any = session.execute(SNAPSHOT_RUN.update().where(SNAPSHOT_RUN.c.entity == entity).values(**values))
    if not known.rowcount:
        session.execute(SNAPSHOT_RUN.insert().values(entity=entity, **values))
    if SNAPSHOTS in session.info:
        after_commit(session, session.info[SNAPSHOTS].wake)


class Snapshots:
    """Carries out the snapshots of one service."""

    def __init__(self, db: Database, service: str, sources: Sequence[SnapshotSource]) -> None:
        self._db = db
        self._by_entity = {source.event.entity: source for source in sources}
        self._by = Subject.service(service)
        self._stopping = False
        self._asked = Event()

    def knows(self, entity: str) -> bool:
        """Tell whether this service owns `entity`."""
        return entity in self._by_entity

    def stop(self) -> None:
        """End `run` after the page at hand."""
        self._stopping = True
        self._asked.set()

    def wake(self) -> None:
        """Say that a snapshot has been requested."""
        self._asked.set()

    def run(self) -> None:
        """Carry out requested snapshots until stopped."""
        while not self._stopping:
            self._asked.clear()
            try:
                busy = any([self.step(entity) for entity in self._asked_for()])
            except Unavailable:
                busy = False
            self._asked.wait(PAUSE_S if busy else LOOK_EVERY_S)

    def _asked_for(self) -> list[str]:
        if not self._by_entity:
            return []
        with self._db.read() as session:
            return [entity for entity in session.scalars(_OPEN) if entity in self._by_entity]

    def step(self, entity: str) -> bool:
        """Announce one page; return whether there was one."""
        source, table = self._by_entity[entity], SNAPSHOT_RUN
        with self._db.write() as session:
            run = session.execute(
                sa.select(table.c.after_id).where(table.c.entity == entity, table.c.finished_at.is_(None))
                .with_for_update()
            ).one_or_none()
            if run is None:
                return False
            items = source.page(session, run.after_id, PAGE)
            for item in items:
                outbox.record(session, source.event, subject=item.id, version=item.version, data=item.data, by=self._by)
            done = {"finished_at": utcnow()} if len(items) < PAGE else {}
            session.execute(table.update().where(table.c.entity == entity).values(
                announced=table.c.announced + len(items), **({"after_id": items[-1].id} if items else {}), **done))
        if done:
            log.info("snapshot_finished", entity=entity)
        return True
