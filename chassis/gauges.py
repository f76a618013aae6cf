"""Gauges that are read when somebody scrapes them: what is in the database, on the disk, and missing."""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from chassis import inbox, outbox, telemetry
from chassis.audit.sealer import oldest_unsealed
from chassis.database import utcnow
from chassis.runtime import Runtime
from contracts.errors import Unavailable

log = telemetry.logger(__name__)

KEEP_S = 5.0
"""Seconds that a reading is given out again: a second scraper costs nothing."""

MOST_COUNTED = 100_000
"""A longer backlog is told as this many: counting further would keep the room's database busy."""


@dataclass(frozen=True)
class Gauge:
    """One gauge: its name with its unit, its meaning, its labels."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


Sample = tuple[str, tuple[str, ...], float]
"""A gauge's name, the values of its labels, the value."""


class Gauges(Collector):
    """Some gauges of one process, read together."""

    told: ClassVar[tuple[Gauge, ...]]

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._read_at = float("-inf")
        self._samples: list[Sample] = []

    @classmethod
    def families(cls) -> dict[str, GaugeMetricFamily]:
        """Return every gauge, without values."""
        return {gauge.name: GaugeMetricFamily(gauge.name, gauge.meaning, labels=gauge.labels) for gauge in cls.told}

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return every gauge, for the registry; nothing is read."""
        return self.families().values()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return every gauge with what was read within the last `KEEP_S` seconds; without values if that failed."""
        if time.monotonic() - self._read_at >= KEEP_S:
            try:
                self._samples = list(self.read())
            except Exception as error:
                self._samples = []
                log.warning("gauges_unread", gauges=type(self).__name__, error=type(error).__name__,
                            **telemetry.where(error))
            self._read_at = time.monotonic()
        families = self.families()
        for name, labels, value in self._samples:
            families[name].add_metric(labels, value)
        return families.values()

    def read(self) -> Iterator[Sample]:
        """Read them all, by indexes."""
        raise NotImplementedError


class RoomGauges(Gauges):
    """What every room has."""

    told = (
        Gauge("ready", "1 while this process serves, else 0."),
        Gauge("missing", "1 for each part that keeps this process from serving, as /readyz names it.", ("part",)),
        Gauge("draining", "1 from SIGTERM to the end of the process."),
        Gauge("disk_free_bytes", "Free space on the disk of HUB_HOME."),
        Gauge("disk_size_bytes", "Size of the disk of HUB_HOME."),
        Gauge("database_up", "1 if the room's database answered this scrape."),
        Gauge("database_size_bytes", "Size of the room's database."),
        Gauge("outbox_oldest_age_seconds", "How long the event that waits longest for the broker has been due; 0 when "
                                           "none waits. What the broker refused counts from its next try."),
        Gauge("outbox_unsent", f"Events that wait for the broker; counted up to {MOST_COUNTED}."),
        Gauge("outbox_unroutable", "Kinds of events that no queue takes."),
        Gauge("relay_connected", "1 while the relay has a connection to the broker."),
        Gauge("audit_unsealed_age_seconds", "How long the entry of the audit trail that waits longest has not been "
                                            "sealed; 0 when all are."),
        Gauge("inbox_last_timestamp_seconds", "When the newest event was taken in (Unix time)."),
    )

    def read(self) -> Iterator[Sample]:
        """Read them; what needs a database that is away is left out."""
        runtime = self._runtime
        missing = runtime.health.missing()
        yield "ready", (), float(not missing)
        for part in sorted(missing):
            yield "missing", (part,), 1.0
        yield "draining", (), float(runtime.stopping.is_set())
        disk = shutil.disk_usage(runtime.settings.home)
        yield "disk_free_bytes", (), float(disk.free)
        yield "disk_size_bytes", (), float(disk.total)
        if runtime.store is not None:
            yield "relay_connected", (), float(runtime.relay.connected)
            yield "outbox_unroutable", (), float(len(runtime.relay.unroutable))
            try:
                with runtime.db.read() as session:
                    found = list(_of_database(session))
            except Unavailable:
                found = [("database_up", (), 0.0)]
            yield from found


def _of_database(session: Session) -> Iterator[Sample]:
    now, since = utcnow(), outbox.oldest_unsent(session)
    yield "outbox_oldest_age_seconds", (), max((now - since).total_seconds(), 0.0) if since else 0.0
    yield "outbox_unsent", (), float(session.scalar(outbox.unsent(MOST_COUNTED)) or 0)
    unsealed = session.scalar(oldest_unsealed())
    yield "audit_unsealed_age_seconds", (), (
        max((now - dt.datetime.fromisoformat(unsealed)).total_seconds(), 0.0) if unsealed else 0.0)
    newest = session.scalar(inbox.newest())
    if newest is not None:
        yield "inbox_last_timestamp_seconds", (), newest.timestamp()
    yield "database_size_bytes", (), float(session.scalar(_SIZE[session.get_bind().dialect.name]))
    yield "database_up", (), 1.0


_SIZE = {
    "sqlite": sa.text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"),
    "postgresql": sa.text("SELECT pg_database_size(current_database())"),
}
