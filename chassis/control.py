"""Asking a service to send events again: a new or rebuilt listener has missed what was said before it listened."""

from __future__ import annotations

import json
from typing import Any

import amqp
from kombu import Connection, Consumer
from kombu.message import Message

from chassis import broker, outbox, snapshot, telemetry
from chassis.runtime import Runtime
from chassis.snapshot import Snapshots
from contracts.errors import Unavailable
from contracts.event import EventType

log = telemetry.logger(__name__)

_INTERRUPTIONS: tuple[type[Exception], ...] = (*broker.CONNECTION_ERRORS, Unavailable)

PAUSE_S = 0.01
"""Between two pages of a resend, for everyday work."""


def ask_resend(connection: Connection, event: EventType, listener: str) -> None:
    """Ask the service that announces `event` for everything it still keeps of it, and for a snapshot of the entity.

    The events go to every listener again; those that know them drop them by id. The snapshot brings what is older than
    the outbox's retention.
    """
    body = {"resend": {"exchange": event.exchange, "routing_keys": [event.routing_key]},
            "snapshot": event.entity if event.name.endswith(".snapshot") else None, "listener": listener}
    channel = connection.connection.channel()
    queue = broker.control_queue(event.service)(channel)
    queue.declare()
    message = amqp.Message(json.dumps(body), content_type="application/json", content_encoding="utf-8", delivery_mode=2)
    channel.basic_publish_confirm(message, exchange="", routing_key=queue.name)
    channel.close()
    log.info("resend_requested", event_type=event.type, listener=listener)


class Listener:
    """Answers what other services ask of this one's outbox and snapshots."""

    def __init__(self, runtime: Runtime, service: str, snapshots: Snapshots) -> None:
        self._runtime = runtime
        self._queue = broker.control_queue(service)
        self._snapshots = snapshots
        self._stopping = False
        self._link: Any = None

    def stop(self) -> None:
        """End `run` within a second."""
        self._stopping = True
        if self._link is not None:
            broker.wake(self._link)

    def run(self) -> None:
        """Listen until stopped, over any number of broker outages."""
        uri = self._runtime.settings.amqp_uri
        while broker.wait_until_up(uri, give_up=lambda: self._stopping, told=lambda _: None):
            try:
                with broker.connected(uri) as connection:
                    consumer = Consumer(connection.default_channel, [self._queue], callbacks=[self._take],
                                        accept=broker.ACCEPT, prefetch_count=1, on_decode_error=_unreadable)
                    consumer.consume()
                    self._link = connection.connection
                    while not self._stopping:
                        broker.listen(self._link)
                        self._link.heartbeat_tick()
            except _INTERRUPTIONS as error:
                log.warning("control_interrupted", error=type(error).__name__)
                self._link = None
                self._runtime.stopping.wait(1.0)

    def _take(self, body: Any, message: Message) -> None:
        asked = body.get("resend") if isinstance(body, dict) else None
        if not isinstance(asked, dict):
            log.error("control_message_dropped", reason="not {resend: {exchange, routing_keys}}")
            message.ack()
            return
        entity, count = body.get("snapshot"), 0
        since = outbox.window_start(self._runtime.settings.outbox_retention_h)
        for page in outbox.resending(self._runtime.db, since=since, exchange=asked.get("exchange"),
                                     routing_keys=asked.get("routing_keys")):
            count += page
            if page:
                self._runtime.relay.wake()
            if self._stopping:
                return  # not acknowledged: the next process begins it again
            message.channel.connection.heartbeat_tick()
            self._runtime.stopping.wait(PAUSE_S)
        if entity and self._snapshots.knows(entity):
            with self._runtime.db.write() as session:
                snapshot.request(session, entity)
        message.ack()
        log.info("resend_granted", listener=body.get("listener"), events=count, snapshot=entity)


def _unreadable(message: Message, error: Exception) -> None:
    log.error("control_message_dropped", reason=type(error).__name__)
    message.ack()
