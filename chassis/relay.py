"""The relay carries outbox rows to the broker: woken at commit, sweeping each second as the net.

A batch is published with pipelined publisher confirms (https://www.rabbitmq.com/docs/confirms) outside any transaction,
then marked in one statement, together with those of the next moment: a mark is a commit, and a commit on SQLite stops
every request of the process for as long as the disk takes. Killed in between, it publishes again under the same ids and
the inboxes drop the repeats.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress

import amqp
from eventlet.event import Event
from eventlet.timeout import Timeout
from kombu import Connection, Exchange

from chassis import broker, metrics, outbox, telemetry, tracing
from chassis.database import Database, utcnow
from chassis.failpoints import failpoint
from chassis.outbox import Pending
from chassis.patience import AtMost
from contracts.envelope import CONTENT_TYPE
from contracts.errors import Unavailable

log = telemetry.logger(__name__)

_INTERRUPTIONS: tuple[type[Exception], ...] = (*broker.CONNECTION_ERRORS, Unavailable)

BATCH = 500
SWEEP_S = 1.0
MARK_WITHIN_S = 0.2
"""Seconds that a confirmed event may wait to be marked: much less than `outbox.LEASE_S`, or it would be sent again."""
RESEND_PAUSE_S = 0.01
CONFIRM_S = 10.0
LATE_S = 10.0
"""Seconds after which an unsent event is worth a note: twice as long as the lease of a killed process's rows."""


class Confirms:
    """Publishes batches on one channel and waits for all their confirms together."""

    def __init__(self, connection: Connection) -> None:
        self._amqp = connection.connection
        self._channel = self._amqp.channel()
        self._ticked_at = 0.0
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._channel.events["basic_return"].add(self._on_return)
        self._declared: set[str] = set()
        self._tag = 0
        self._waiting: dict[int, str] = {}
        self._refused: dict[str, str] = {}

    def publish(self, rows: Sequence[Pending]) -> dict[str, str]:
        """Publish `rows`; return the ids that no queue took, with the reason. All others are confirmed.

        Raises:
            one of broker.CONNECTION_ERRORS: nothing is known of rows not yet confirmed; publish them again.
        """
        self._refused = {}
        for row in rows:
            if row.exchange not in self._declared:
                Exchange(row.exchange, type="topic", durable=True)(self._channel).declare()
                self._declared.add(row.exchange)
            self._tag += 1
            self._waiting[self._tag] = row.id
            message = amqp.Message(row.body, content_type=CONTENT_TYPE, content_encoding="utf-8", delivery_mode=2,
                                   message_id=row.id)
            self._channel.basic_publish(message, exchange=row.exchange, routing_key=row.routing_key,
                                        mandatory=row.mandatory)
        failpoint("relay.after_publish")
        deadline = time.monotonic() + CONFIRM_S
        while self._waiting:
            # A confirm that does not come is ambiguous: the same ids are published again on a new channel.
            self._amqp.drain_events(timeout=max(deadline - time.monotonic(), 0.001))
        return self._refused

    def keep_alive(self) -> None:
        """Send and take heartbeats, at most once a second.

        Raises:
            one of broker.CONNECTION_ERRORS: the broker has gone.
        """
        if time.monotonic() - self._ticked_at < 1.0:
            return
        with suppress(TimeoutError):
            # Unread heartbeats do not count: an idle relay would think the broker dead twice a minute.
            self._amqp.drain_events(timeout=0.001)
        self._amqp.heartbeat_tick()
        self._ticked_at = time.monotonic()

    def _settle(self, tag: int, multiple: bool) -> list[str]:
        tags = [t for t in self._waiting if t <= tag] if multiple else [tag]
        return [self._waiting.pop(t) for t in tags if t in self._waiting]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._settle(tag, multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused.update(dict.fromkeys(self._settle(tag, multiple), "the broker could not keep it (queue full?)"))

    def _on_return(self, _error: Exception, exchange: str, routing_key: str, message: amqp.Message) -> None:
        self._refused[message.properties["message_id"]] = f"no queue is bound to {routing_key} on {exchange}"


class Relay:
    """Carries one service's events; two relays on one database share the work through leases."""

    def __init__(self, db: Database, amqp_uri: str, service: str) -> None:
        self.owner = uuid.uuid4().hex
        self.unroutable: dict[str, str] = {}
        self.connected = False
        self._db = db
        self._amqp_uri = amqp_uri
        self._marker = f"marker.{service}.v1"
        self._offered: deque[tuple[float, Pending]] = deque()
        self._wake = Event()
        self._stopping = False
        self._sweep_due = 0.0
        self._swept = False
        self._confirmed: list[str] = []
        self._confirmed_since = utcnow()
        self._mark_due = float("inf")
        self._carried = False
        self._resending: Iterator[int] | None = None
        self._resent = 0

    def offer(self, rows: Sequence[Pending]) -> None:
        """Take rows that this process has just committed, so that they need not be claimed."""
        if len(self._offered) < 20 * BATCH:  # beyond that their leases run out and the sweep finds them
            taken_at = time.monotonic()
            self._offered.extend((taken_at, row) for row in rows)
        self.wake()

    def wake(self) -> None:
        """Look for work now."""
        if not self._wake.ready():
            self._wake.send(None)

    def stop(self) -> None:
        """Finish the batch at hand and end `run`."""
        self._stopping = True
        self.wake()

    def run(self) -> None:
        """Carry events until stopped, over any number of broker outages."""
        pause = 0.2
        while not self._stopping:
            self._carried = False
            try:
                with broker.connected(self._amqp_uri) as connection:
                    with Timeout(CONFIRM_S, TimeoutError("the broker does not answer a declaration")):
                        self._resending = self._resend_if_wiped(connection)
                    self.connected = True
                    self._carry(connection)
            except _INTERRUPTIONS as error:
                self.connected = False
                log.warning("relay_interrupted", error=type(error).__name__)
                pause = 0.2 if self._carried else min(pause * 1.5, 2.0)
                self._rest(pause)
        with suppress(Unavailable):
            self._mark()

    def note_unroutable(self) -> str | None:
        """Return which kinds of events no queue takes, in words for a person; None when there are none."""
        return "; ".join(f"{key}: {reason}" for key, reason in sorted(self.unroutable.items())) or None

    def note_unsent(self) -> str | None:
        """Return how long the oldest event has waited to be sent, if that is longer than `LATE_S`."""
        with self._db.read() as session:
            since = outbox.oldest_unsent(session)
        waited = (utcnow() - since).total_seconds() if since else 0.0
        return f"the oldest event has waited for {waited:.0f} s" if waited > LATE_S else None

    def _carry(self, connection: Connection) -> None:
        confirms = Confirms(connection)
        while not self._stopping:
            if self._resending is not None:
                self._resend_some(connection, self._resending)
            rows = self._next_batch()
            self._carried = True
            confirms.keep_alive()
            if self._swept:
                self._mark()  # those before them count from another instant
            # A row that failed before may be what broke the channel: it travels alone, so that it fails alone.
            fresh = [row for row in rows if not row.attempts]
            for batch in ([fresh] if fresh else []) + [[row] for row in rows if row.attempts]:
                self._send(confirms, batch)
            if self._swept or len(self._confirmed) >= BATCH or time.monotonic() >= self._mark_due:
                self._mark()
            if not rows:
                wait_s = SWEEP_S if self._resending is None else RESEND_PAUSE_S
                self._sleep(min(wait_s, max(self._mark_due - time.monotonic(), 0.001)))
        while rows := self._take_offered():
            self._send(confirms, rows)

    def _send(self, confirms: Confirms, batch: list[Pending]) -> None:
        published_at, began_ns = utcnow(), time.time_ns()
        try:
            refused = confirms.publish(batch)
        except (amqp.exceptions.ConnectionError, OSError):
            raise  # the broker is away, and no row is to blame
        except Exception as error:
            # The broker closed the channel over one of these rows, or one of them cannot be written at all.
            with self._db.write() as session:
                outbox.put_back(session, {row.id: f"{type(error).__name__}: {error}" for row in batch})
            log.error("events_refused", events=[row.id for row in batch], error=type(error).__name__)
            raise ConnectionError("the channel is gone") from error
        if not self._confirmed:
            self._confirmed_since, self._mark_due = published_at, time.monotonic() + MARK_WITHIN_S
        self._confirmed += [row.id for row in batch if row.id not in refused]
        if refused:
            with self._db.write() as session:
                outbox.put_back(session, refused)
        self._note(batch, refused)
        if tracing.on():
            _trace(batch, refused, began_ns)

    def _mark(self) -> None:
        """Mark what has been confirmed and not marked yet; what cannot be marked now is kept for the next time."""
        if self._confirmed:
            failpoint("relay.before_mark_sent")
            with self._db.write() as session:
                outbox.mark_sent(session, self._confirmed, published_at=self._confirmed_since)
            self._confirmed = []
        self._mark_due = float("inf")

    def _note(self, batch: list[Pending], refused: dict[str, str]) -> None:
        for row in batch:
            metrics.PUBLISHED.labels(row.event, "refused" if row.id in refused else "confirmed").inc()
            if row.id in refused:
                if row.routing_key not in self.unroutable:
                    log.error("event_unroutable", event_id=row.id, routing_key=row.routing_key, reason=refused[row.id])
                self.unroutable[row.routing_key] = refused[row.id]
            elif row.routing_key in self.unroutable:
                del self.unroutable[row.routing_key]
                log.info("event_routable_again", routing_key=row.routing_key)

    def _take_offered(self) -> list[Pending]:
        """Return offered rows whose lease still holds; the others belong to the sweep, and perhaps to another relay."""
        rows: list[Pending] = []
        while self._offered and len(rows) < BATCH:
            taken_at, row = self._offered.popleft()
            if time.monotonic() - taken_at < outbox.LEASE_S - 1:
                rows.append(row)
        return rows

    def _next_batch(self) -> list[Pending]:
        rows, self._swept = self._take_offered(), False
        # Also when new rows come without end: those that failed, or whose process died, wait in the table.
        if time.monotonic() >= self._sweep_due:
            with self._db.write() as session:
                swept = outbox.claim(session, self.owner, BATCH)
            if len(swept) < BATCH:
                self._sweep_due = time.monotonic() + SWEEP_S
            self._swept = bool(swept)
            rows += swept
        return rows

    def _rest(self, seconds: float) -> None:
        """Wait, whatever there is to carry: the broker, or the database that says what there is, is away."""
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._wake = Event()
            with AtMost(left):
                self._wake.wait()

    def _sleep(self, seconds: float) -> None:
        if not self._offered and not self._stopping:
            with AtMost(seconds):
                self._wake.wait()
        self._wake = Event()

    def _resend_if_wiped(self, connection: Connection) -> Iterator[int] | None:
        """Send the kept window again when the broker has lost everything: then our marker queue is gone as well."""
        self._resent = 0
        if broker.exists(connection, self._marker):
            return None
        since = outbox.window_start(self._db.info.get("outbox_retention_h", 72.0))
        return outbox.resending(self._db, since=since)

    def _resend_some(self, connection: Connection, pages: Iterator[int]) -> None:
        """Make a page due between two batches; the mark that all is done comes last."""
        for count in pages:
            self._resent += count
            self._sweep_due = 0.0
            return
        with Timeout(CONFIRM_S, TimeoutError("the broker does not answer a declaration")), \
                connection.channel() as channel:
            channel.queue_declare(self._marker, durable=True, auto_delete=False,
                                  arguments={"x-queue-type": "quorum"})
        self._resending = None
        if self._resent:
            log.warning("broker_wiped", resent=self._resent)


def _trace(batch: list[Pending], refused: dict[str, str], began_ns: int) -> None:
    for row in batch:
        tracing.past(f"publish {row.event}", "producer", json.loads(row.body).get("traceparent", ""),
                     started_ns=began_ns, error="refused" if row.id in refused else None, messaging__system="rabbitmq",
                     messaging__message__id=row.id, messaging__batch__message_count=len(batch))
