"""A message of a target's webhook: its signature is checked before anything else is done with it.

Messages are late, and come in any order. One that does not tell when its change was made, about a record of which
something is known, is a hint and no more: the record is read as it stands now.
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
from hub_adapter.port import Capability, Change, Remote
from services.integrations.engine import calls
from services.integrations.engine.poller import news_of
from services.integrations.engine.targets import Target, Targets
from services.integrations.models import Connection
from services.integrations.operations import inbound, pulls, receipts
from services.integrations.operations.inbound import GONE, News, Reading, Told
from services.integrations.operations.locks import lock

log = telemetry.logger(__name__)

MESSAGES = Counter("integrations_inbound_messages", "Messages of webhooks, by what came of them.", ["result"])
PARSE_S = 5.0
"""Seconds that an adapter is given for a message, and as many to read what it hints at."""

Page = Mapping[str, list[News]]
"""Entity → news of it."""


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
    body = _decoded(request["body"])
    with db.read() as session:
        target = _target(session, targets, connection_id)
    changes = _parsed(target, headers, body, clock)
    since = clock()
    with db.read() as session:
        known = receipts.is_known(session, connection_id, headers, body)
        hints = {} if known else _hints(session, connection_id, changes)
    standing, unread = _standing(target, hints, clock)
    now = clock()
    with db.write() as session:
        connection = lock(session, [connection_id])[connection_id]
        if not receipts.first_time(session, connection_id, headers, body, now):
            return _noted(connection_id, known=True)
        told = _merged(
            _tell(session, connection, _without(changes, hints), Reading(since=now, now=now, current=False)),
            _tell(session, connection, standing, Reading(since=since, now=now)))
        for entity in sorted(unread):
            pulls.start(session, connection_id, entity, now)
    if told.held or unread:
        nudge()
    return _noted(connection_id, told.announced)


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


def _tell(session: Session, connection: Connection, page: Page, reading: Reading) -> Told:
    """Tell what is pulled; what crosses a write of ours is left to the poll."""
    told = Told()
    for entity in sorted(page):
        if not connection.pulls(entity):
            continue
        part = inbound.tell(session, connection.id, entity, page[entity], reading)
        told = _merged(told, part)
        if part.held:
            pulls.start(session, connection.id, entity, reading.now)
    return told


def _hints(session: Session, connection_id: str, changes: Sequence[Change]) -> Page:
    """Return those changes that may be older than what is known of their record."""
    connection = session.get_one(Connection, connection_id)
    return {entity: inbound.unordered(session, connection_id, entity, news)
            for entity, news in _by_entity(changes).items() if connection.pulls(entity)}


def _without(changes: Sequence[Change], hints: Page) -> Page:
    hinted = {(entity, one.external_id) for entity, news in hints.items() for one in news}
    return _by_entity([one for one in changes if (one.entity, one.external_id) not in hinted])


def _by_entity(changes: Sequence[Change]) -> Page:
    news: dict[str, list[News]] = {}
    for change in changes:
        news.setdefault(change.entity, []).append(news_of(change))
    return news


def _standing(target: Target, hints: Page, clock: Callable[[], dt.datetime]) -> tuple[Page, set[str]]:
    """Return what is hinted at as it stands there now, and the entities that could not be asked for."""
    found: dict[str, list[News]] = {}
    unread: set[str] = set()
    for entity, news in hints.items():
        try:
            with target.calling(clock, PARSE_S, lambda exchange: None) as ctx:
                found[entity] = [_news(target.adapter.get(ctx, entity, one.external_id), one) for one in news]
        except Exception as error:
            unread.add(entity)
            log.warning("webhook_not_read", connection_id=target.connection_id, entity=entity,
                        reason=calls.failed_with(target, error).text)
    return found, unread


def _news(remote: Remote | None, hint: News) -> News:
    if remote is None:
        return News(external_id=hint.external_id, version=GONE, record={}, deleted=True, account=hint.account)
    return News(external_id=hint.external_id, version=remote.version or GONE, record=remote.body, account=hint.account)


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
