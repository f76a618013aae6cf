"""A message of a target's webhook: its signature is checked before anything else is done with it.

Messages are late, and come in any order. One that does not tell when its change was made, about a record of which
something is known, is a hint and no more: it is noted with the receipt, and the poller reads the record as it stands
then. The door calls no target: a pause, a throttle and an open breaker hold for hints as for every other call.
"""

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
from services.integrations.operations.inbound import News, Reading, Told
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
        request: as `contracts.inbound.ReceiveInbound`.
        nudge: wakes the poller, which reads what is only hinted at and what crossed a write of ours.
        clock: now.

    Raises:
        Unauthenticated: there is no such connection, it takes no messages, or the signature is not its target's. Which
            of these, the log tells, not the sender.
        BadRequest: it is signed and cannot be read.
    """
    connection_id, headers = request["connection_id"], {str(k): str(v) for k, v in request["headers"].items()}
    body = _decoded(request["body"])
    with db.read() as session:
        target = _target(session, targets, connection_id)
    since = clock()
    changes = _parsed(target, headers, body, clock)
    message = target.adapter.spec.signed(headers), body
    told = _taken_in(db, connection_id, message, changes, since, clock())
    if told is None:
        return _noted(connection_id, known=True)
    if told.held:
        nudge()
    return _noted(connection_id, told.announced)


def _taken_in(db: Database, connection_id: str, message: tuple[Mapping[str, str], bytes], changes: Sequence[Change],
              since: dt.datetime, now: dt.datetime) -> Told | None:
    """Tell the changes of a message, or note what they hint at, with its receipt; None if it was taken in before."""
    with db.write() as session:
        # What is known of a record is asked under the lock: a poll may have taken in something newer meanwhile.
        connection = lock(session, [connection_id])[connection_id]
        if not receipts.first_time(session, connection_id, *message, now):
            return None
        told = Told()
        for entity, news in sorted(_by_entity(changes).items()):
            if connection.pulls(entity):
                told = _merged(told, _tell(session, connection_id, entity, news, since, now))
        return told


def _noted(connection_id: str, changes: int = 0, *, known: bool = False) -> dict[str, Any]:
    MESSAGES.labels("known" if known else "taken").inc()
    log.info("webhook_known" if known else "webhook_taken", connection_id=connection_id, changes=changes)
    return {"changes": changes, "known": known}


def _decoded(body: str) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise BadRequest("The message cannot be read") from error


def _merged(one: Told, other: Told) -> Told:
    return Told(announced=one.announced + other.announced, held=one.held + other.held)


def _tell(session: Session, connection_id: str, entity: str, news: Sequence[News], since: dt.datetime,
          now: dt.datetime) -> Told:
    """Tell what is known to be new; of what may be old, or crosses a write of ours, the record is left to be read."""
    hinted = inbound.unordered(session, connection_id, entity, news)
    ids = {one.external_id for one in hinted}
    told = inbound.tell(session, connection_id, entity, [one for one in news if one.external_id not in ids],
                        Reading(since=since, now=now, current=False))
    unread = (*hinted, *told.held)
    if unread:
        pulls.hint(session, connection_id, entity, unread, now)
    return Told(announced=told.announced, held=unread)


def _by_entity(changes: Sequence[Change]) -> Mapping[str, list[News]]:
    news: dict[str, list[News]] = {}
    for change in changes:
        news.setdefault(change.entity, []).append(news_of(change))
    return news


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
        with target.calling(clock, PARSE_S) as ctx:
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
