"""The outbox: an event is a row in the transaction of the change it announces, so neither exists without the other."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import telemetry, tracing
from chassis.database import CHASSIS, Database, Id, UtcDateTime, after_commit, new_id, now_of, utcnow
from chassis.failpoints import failpoint
from chassis.tracing import Span
from contracts.envelope import Envelope
from contracts.event import EventType
from contracts.schema import pack

LEASE_S = 5
"""Seconds that a relay has a row to itself. Short: it is also how long a row of a killed process waits."""

RESEND_PAGE = 500
"""Rows that one step of a resend looks at: some ten milliseconds on SQLite, during which nothing else runs."""

SUBJECT_MOST = 80
"""Characters of a subject that the table shows; a longer one is shortened by a digest."""

OUTBOX = sa.Table(
    "outbox", CHASSIS,
    sa.Column("id", Id, primary_key=True, comment="the event's id"),
    sa.Column("exchange", sa.String(80), nullable=False),
    sa.Column("routing_key", sa.String(120), nullable=False),
    sa.Column("subject", sa.String(SUBJECT_MOST), nullable=False),
    sa.Column("mandatory", sa.Boolean, nullable=False),
    sa.Column("body", sa.Text, nullable=False, comment="the envelope as it travels"),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Column("sent_at", UtcDateTime),
    sa.Column("lease_owner", sa.String(64)),
    sa.Column("lease_until", UtcDateTime),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_error", sa.String(300)),
)
sa.Index("ix_outbox_unsent", OUTBOX.c.due_at, OUTBOX.c.id,
         sqlite_where=OUTBOX.c.sent_at.is_(None), postgresql_where=OUTBOX.c.sent_at.is_(None))
sa.Index("ix_outbox_created_at", OUTBOX.c.created_at)


class Actor(Protocol):
    """Whoever causes a change; only the id is kept."""

    @property
    def id(self) -> str:
        """Id of the user, key or service."""
        ...


@dataclass(frozen=True)
class Pending:
    """One row on its way to the broker."""

    id: str
    exchange: str
    routing_key: str
    mandatory: bool
    body: str
    attempts: int = 0

    @property
    def event(self) -> str:
        """The event's type: `sales.order.confirmed`."""
        return f"{self.exchange.partition('.')[0]}.{self.routing_key}"


@dataclass(frozen=True)
class Announcement:
    """One event about to be recorded: what `record` takes, for many at once.

    `traceparent` is of what the event comes from, where that is not the call at hand.
    """

    subject: str
    version: int
    data: Any
    traceparent: str = ""


def record(
    session: Session, event: EventType, *, subject: str, version: int, data: Any, by: Actor, origin: str = "hub"
) -> str:
    """Announce `event` when, and only when, the transaction of `session` commits.

    Args:
        session: the transaction of the change.
        event: what happened.
        subject: id of the record it happened to.
        version: the record's version after the change.
        data: object or mapping that `event.data` can dump; sensitive fields are sealed here.
        by: who caused it.
        origin: the connection that caused it, or `hub`.

    Returns:
        The event's id.
    """
    return record_all(session, event, [Announcement(subject, version, data)], by=by, origin=origin)[0]


def record_all(
    session: Session, event: EventType, announcements: Iterable[Announcement], *, by: Actor, origin: str = "hub"
) -> list[str]:
    """Announce `event` of many records, in one statement; see `record`.

    Returns:
        The events' ids.
    """
    relay = session.info.get("relay")
    told = [(announced, _span(event, announced)) for announced in announcements]
    now = now_of(session)
    rows = [_row(event, announced, span.traceparent, by, origin, relay, now) for announced, span in told]
    if not rows:
        return []
    if tracing.on():
        after_commit(session, partial(_end, [span for _, span in told]))
    session.connection().execute(_INSERT, rows)
    if relay:
        fresh = [Pending(row["id"], event.exchange, event.routing_key, event.expects_listener, row["body"])
                 for row in rows]
        session.info.setdefault("announced", []).extend(fresh)
        after_commit(session, _Offer(relay, session.info["announced"]))
    return [row["id"] for row in rows]


_INSERT = OUTBOX.insert()
_FREE = (
    sa.select(OUTBOX.c.id)
    .where(OUTBOX.c.sent_at.is_(None), OUTBOX.c.due_at <= sa.bindparam("now"),
           sa.or_(OUTBOX.c.lease_until.is_(None), OUTBOX.c.lease_until < sa.bindparam("now")))
    .order_by(OUTBOX.c.due_at, OUTBOX.c.id).limit(sa.bindparam("most", type_=sa.Integer))
    .with_for_update(skip_locked=True)
    # As a plain sub-select PostgreSQL may run it once per row, skip what it has just locked, and lease them all.
    .cte("free").prefix_with("MATERIALIZED", dialect="postgresql")
)
_CLAIM = (
    OUTBOX.update().where(OUTBOX.c.id.in_(sa.select(_FREE.c.id)))
    .values(lease_owner=sa.bindparam("me"), lease_until=sa.bindparam("until"))
    .returning(OUTBOX.c.id, OUTBOX.c.exchange, OUTBOX.c.routing_key, OUTBOX.c.mandatory, OUTBOX.c.body,
               OUTBOX.c.attempts)
)
_MARK = (
    OUTBOX.update()
    # Made after `at` and never asked for again: published after both, for the caller has its confirm.
    .where(OUTBOX.c.id.in_(sa.bindparam("those", expanding=True)),
           sa.or_(OUTBOX.c.due_at <= sa.bindparam("at"), OUTBOX.c.due_at == OUTBOX.c.created_at))
    .values(sent_at=sa.bindparam("now"), lease_owner=None, lease_until=None, last_error=None)
)


def _span(event: EventType, announced: Announcement) -> Span:
    """Return the span of the row; whoever handles the event is a part of it."""
    return tracing.span(f"create {event.type}", "producer",
                        announced.traceparent or telemetry.current("traceparent"), messaging__system="rabbitmq")


def _end(spans: Sequence[Span]) -> None:
    for span in spans:
        span.end()


def _row(event: EventType, announced: Announcement, traceparent: str, by: Actor, origin: str,
         relay: Any, now: dt.datetime) -> dict[str, Any]:
    envelope = Envelope(
        id=new_id(), source=f"/{event.service}", type=event.type, subject=announced.subject, time=now,
        entityversion=announced.version, schemaversion=event.schemaversion, actor=by.id, origin=origin,
        traceparent=traceparent, correlationid=telemetry.current("request_id"),
        data=pack(event.data, announced.data),
    )
    return {
        "id": envelope.id, "exchange": event.exchange, "routing_key": event.routing_key,
        "subject": _shown(announced.subject),
        "mandatory": event.expects_listener, "created_at": envelope.time, "due_at": envelope.time,
        "body": json.dumps(envelope.to_wire(), ensure_ascii=False, separators=(",", ":")),
        # Born leased to the relay of this process, which gets it in memory at commit: no claim stands in its way.
        "lease_owner": relay.owner if relay else None,
        "lease_until": envelope.time + dt.timedelta(seconds=LEASE_S) if relay else None,
    }


def _shown(subject: str) -> str:
    """Return a subject as its column shows it: a longer one, such as a calendar's UID, is whole in the body alone."""
    if len(subject) <= SUBJECT_MOST:
        return subject
    return f"{subject[:SUBJECT_MOST - 33]}~{hashlib.sha256(subject.encode()).hexdigest()[:32]}"


@dataclass
class _Offer:
    """Hands a transaction's events to the relay, once."""

    relay: Any
    rows: list[Pending]

    def __call__(self) -> None:
        self.relay.offer(self.rows)


def claim(session: Session, owner: str, limit: int) -> list[Pending]:
    """Lease up to `limit` due rows that nobody holds, oldest first."""
    now = now_of(session)
    rows = session.execute(
        _CLAIM, {"me": owner, "now": now, "until": now + dt.timedelta(seconds=LEASE_S), "most": limit}).all()
    return sorted((Pending(*row) for row in rows), key=lambda row: row.id)


def mark_sent(session: Session, ids: Sequence[str], *, published_at: dt.datetime) -> None:
    """Record that the broker has confirmed these events.

    Those that were asked for again after `published_at`, an instant before the first of them was published, stay due:
    whoever asked may have begun to listen in between.
    """
    session.connection().execute(_MARK, {"those": list(ids), "at": published_at, "now": now_of(session)})


def put_back(session: Session, refused: dict[str, str]) -> None:
    """Keep events that the broker did not take, each with the reason, and try them again later, ever less often."""
    now = now_of(session)
    for id, reason in refused.items():
        tried = session.execute(
            OUTBOX.update().where(OUTBOX.c.id == id)
            .values(attempts=OUTBOX.c.attempts + 1, last_error=reason[:300], lease_owner=None, lease_until=None)
            .returning(OUTBOX.c.attempts)
        ).scalar_one()
        session.execute(OUTBOX.update().where(OUTBOX.c.id == id)
                        .values(due_at=now + dt.timedelta(seconds=min(2.0 ** min(tried, 6), 60))))


def resending(db: Database, *, since: dt.datetime, exchange: str | None = None,
              routing_keys: Sequence[str] | None = None) -> Iterator[int]:
    """Make the events kept since `since` due again, `RESEND_PAGE` rows at each step; listeners drop those they know.

    Each step is a short transaction of its own, and the caller does other things in between. Ended in the middle it is
    begun again from the start: what is sent twice is dropped by its id.

    Yields:
        How many events the step has made due.
    """
    until, after = db.clock(), (since, "")
    while True:
        with db.write() as session:
            page = session.execute(_page(after, until)).all()
            chosen = [row.id for row in page if (exchange is None or row.exchange == exchange)
                      and (routing_keys is None or row.routing_key in routing_keys)]
            if chosen:
                # Also what a relay has published and not yet marked: it may have gone out before anybody listened.
                session.execute(
                    OUTBOX.update()
                    .where(OUTBOX.c.id.in_(chosen),
                           sa.or_(OUTBOX.c.sent_at.is_not(None), OUTBOX.c.lease_until.is_not(None)))
                    .values(sent_at=None, due_at=now_of(session), lease_owner=None, lease_until=None))
        yield len(chosen)
        failpoint("outbox.between_pages")
        if len(page) < RESEND_PAGE:
            return
        after = (page[-1].created_at, page[-1].id)


def _page(after: tuple[dt.datetime, str], until: dt.datetime) -> sa.Select[Any]:
    kept, (created_at, id) = OUTBOX.c, after
    return (
        sa.select(kept.id, kept.created_at, kept.exchange, kept.routing_key)
        .where(kept.created_at >= created_at, kept.created_at <= until,
               sa.or_(kept.created_at > created_at, kept.id > id))
        .order_by(kept.created_at, kept.id).limit(RESEND_PAGE)
    )


def window_start(retention_h: float) -> dt.datetime:
    """Return the instant from which events are still kept."""
    return utcnow() - dt.timedelta(hours=retention_h)


def prune(session: Session, *, before: dt.datetime, limit: int = 1000) -> int:
    """Delete up to `limit` sent events made before `before`; an unsent one is never deleted."""
    old = sa.select(OUTBOX.c.id).where(OUTBOX.c.created_at < before, OUTBOX.c.sent_at.is_not(None)).limit(limit)
    result: Any = session.execute(OUTBOX.delete().where(OUTBOX.c.id.in_(old)))
    return int(result.rowcount)


def oldest_unsent(session: Session) -> dt.datetime | None:
    """Return since when the event that waits longest to be sent has been due, or None; the refused are not counted."""
    query = sa.select(OUTBOX.c.due_at).where(OUTBOX.c.sent_at.is_(None)).order_by(OUTBOX.c.due_at, OUTBOX.c.id).limit(1)
    return session.execute(query).scalar_one_or_none()


def unsent(most: int) -> sa.Select[int]:
    """Select how many events wait for the broker, counted up to `most`."""
    return sa.select(sa.func.count()).select_from(
        sa.select(OUTBOX.c.due_at).where(OUTBOX.c.sent_at.is_(None)).limit(most).subquery())


@dataclass(frozen=True)
class Refused:
    """Events of one kind that the broker has refused so far; they are kept and tried again."""

    routing_key: str
    count: int
    since: dt.datetime
    reason: str


def refused(session: Session) -> list[Refused]:
    """Return what the broker has refused, by kind. Reads every unsent row: for an operator, not for a probe."""
    kept = OUTBOX.c
    query = (
        sa.select(kept.routing_key, sa.func.count(), sa.func.min(kept.created_at), sa.func.max(kept.last_error))
        .where(kept.sent_at.is_(None), kept.attempts > 0, kept.last_error.is_not(None))
        .group_by(kept.routing_key).order_by(kept.routing_key)
    )
    return [Refused(*row) for row in session.execute(query)]
