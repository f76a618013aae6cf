"""A message of a target's webhook: its signature is checked before anything else is done with it."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import Counter
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.database import Database, utcnow
from contracts.errors import BadRequest, Unauthenticated, Unavailable
from hub_adapter.failure import AuthRefused
from hub_adapter.port import Capability, Change
from services.integrations.engine.poller import news_of
from services.integrations.engine.targets import Target, Targets
from services.integrations.models import Connection
from services.integrations.operations import inbound, pulls, receipts
from services.integrations.operations.inbound import Reading
from services.integrations.operations.locks import lock

log = telemetry.logger(__name__)

MESSAGES = Counter("integrations_inbound_messages", "Messages of webhooks, by what came of them.", ["result"])
PARSE_S = 5.0
"""Seconds that an adapter is given for a message."""


def receive(db: Database, targets: Targets, request: Mapping[str, Any], nudge: Callable[[], None],
            clock: Callable[[], dt.datetime] = utcnow) -> dict[str, Any]:
    """Take in a message; return how many changes it told and whether it was known.

    Args:
        db: where the connection stands.
        targets: to load it.
        request: as `contracts.integrations.ReceiveInbound`.
        nudge: wakes the poller, which reads again what crossed a write of ours.
        clock: now.

    Raises:
        Unauthenticated: there is no such connection, it takes no messages, or the signature is not its target's. Which
            of these, the log tells, not the sender.
        BadRequest: it is signed and cannot be read.
    """
    connection_id, headers = request["connection_id"], {str(k): str(v) for k, v in request["headers"].items()}
    try:
        body = base64.b64decode(request["body"], validate=True)
    except binascii.Error as error:
        raise BadRequest("The message cannot be read") from error
    with db.read() as session:
        target = _target(session, targets, connection_id)
    changes = _parsed(target, headers, body, clock)
    now, announced, held = clock(), 0, False
    with db.write() as session:
        connection = lock(session, [connection_id])[connection_id]
        if not receipts.first_time(session, connection_id, headers, body, now):
            MESSAGES.labels("known").inc()
            log.info("webhook_known", connection_id=connection_id)
            return {"changes": 0, "known": True}
        for entity in sorted({change.entity for change in changes}):
            if not connection.pulls(entity):
                continue
            news = [news_of(change) for change in changes if change.entity == entity]
            told = inbound.tell(session, connection_id, entity, news, Reading(since=now, now=now, current=False))
            announced += told.announced
            if told.held:
                pulls.start(session, connection_id, entity, now)
                held = True
    if held:
        nudge()
    MESSAGES.labels("taken").inc()
    log.info("webhook_taken", connection_id=connection_id, changes=announced)
    return {"changes": announced, "known": False}


def _target(session: Session, targets: Targets, connection_id: str) -> Target:
    connection = session.get(Connection, connection_id)
    if connection is None or connection.desired_state == "stopped":
        raise _refused(connection_id, "no such connection, or it is stopped")
    try:
        target = targets.usable(session, connection)
    except Unavailable:
        raise
    except Exception as error:
        raise _refused(connection_id, type(error).__name__) from error
    if Capability.WEBHOOK not in target.adapter.spec.capabilities:
        raise _refused(connection_id, "its adapter takes no messages")
    return target


def _parsed(target: Target, headers: Mapping[str, str], body: bytes,
            clock: Callable[[], dt.datetime]) -> Sequence[Change]:
    try:
        with target.calling(clock, PARSE_S, lambda exchange: None) as ctx:
            return target.adapter.parse_webhook(ctx, headers, body)
    except AuthRefused as error:
        raise _refused(target.connection_id, target.redacted(str(error))[:200]) from error
    except Exception as error:
        MESSAGES.labels("unreadable").inc()
        log.warning("webhook_unreadable", connection_id=target.connection_id, error=type(error).__name__)
        raise BadRequest("The message cannot be read") from error


def _refused(connection_id: str, reason: str) -> Unauthenticated:
    MESSAGES.labels("refused").inc()
    log.warning("webhook_refused", connection_id=connection_id, reason=reason)
    return Unauthenticated("The message is not signed as this connection's target signs")
