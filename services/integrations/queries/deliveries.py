"""Reading deliveries, their attempts, and the ledger that accounts for all of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased, undefer

from chassis.access import visible as within_reach
from chassis.context import Subject
from chassis.paging import Order, Page, Sealer, keyset_page, narrowed
from contracts.errors import NotFound
from contracts.operation import Permission
from services.integrations.domain.deliveries import TERMINAL
from services.integrations.domain.ledger import Ledger
from services.integrations.models import Attempt, Delivery, LedgerRow
from services.integrations.queries import adapters, connections

STANDS = sa.text("delivery.state <> 'cancelled'")
"""Of a replay: nobody has called it off, which leaves what it was to replace as it was. Literal, for its index."""
_APART = dt.timedelta(hours=1)
"""More than lies between the making of a delivery's id and its `created_at`, though a clock be set in between."""


def visible(subject: Subject, action: str) -> sa.ColumnElement[bool]:
    """The one predicate: which deliveries `subject` may do `action` to. They belong to nobody: all or none."""
    return within_reach(subject, Permission("delivery", action))


def get(session: Session, delivery_id: str, subject: Subject, action: str = "read") -> Delivery:
    """Return a delivery within the subject's reach.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    query = sa.select(Delivery).where(Delivery.id == delivery_id, visible(subject, action))
    found = session.scalar(query.options(undefer(Delivery.external_id)))
    if found is None:
        raise NotFound("There is no such delivery", entity="delivery", id=delivery_id)
    return found


def replayed(session: Session, delivery_id: str, mode: str, subject: Subject) -> Delivery | None:
    """Return the delivery that was accepted last in the place of this one, in a mode, and not called off, if any."""
    again = session.scalar(
        sa.select(Delivery.id)
        .where(Delivery.replay_of == delivery_id, Delivery.replay_mode == mode, STANDS)
        .order_by(Delivery.id.desc()).limit(1))
    return get(session, again, subject, "operate") if again else None


def replay_keys(session: Session, ids: Collection[str], mode: str) -> set[tuple[str, str]]:
    """Return (delivery, payload hash) of what was sent again of these in a mode; of facts, in any."""
    keys = sa.select(Delivery.replay_of, Delivery.payload_hash)
    rows = session.execute(keys.where(
        Delivery.replay_of.in_(ids), STANDS, sa.or_(Delivery.replay_mode == mode, Delivery.op == "append")))
    return {(str(row.replay_of), str(row.payload_hash)) for row in rows}


def last_of_lane(asked: Mapping[str, Any], but: Collection[str] = (), *,
                 of_chosen: bool = False) -> sa.Select[Delivery]:
    """Select deliveries by filters, without those of error classes `but` and what has a newer one behind it.

    Args:
        asked, but: what is chosen.
        of_chosen: whether a newer one counts only where it is chosen too.
    """
    later = aliased(Delivery)
    newer = _filtered(sa.select(later.id), later, asked, but) if of_chosen else sa.select(later.id)
    return _filtered(sa.select(Delivery), Delivery, asked, but).where(
        ~newer.where(_overtakes(later, Delivery)).exists())


def overtaking(session: Session, delivery: Delivery) -> str | None:
    """Return the id of the newest delivery that says more of a record than this one, if there is one."""
    return session.scalar(sa.select(Delivery.id).where(_overtakes(Delivery, delivery))
                          .order_by(Delivery.source_version.desc(), Delivery.id.desc()).limit(1))


def _overtakes(later: Any, delivery: Any) -> sa.ColumnElement[bool]:
    # By version first: an old change that comes in late is skipped, and would keep a dead newer one from going again.
    # Nothing that comes later says what a fact did, and a replay that was called off says nothing.
    return sa.and_(
        delivery.op != "append", sa.or_(later.replay_of.is_(None), later.state != "cancelled"),
        later.local_id == delivery.local_id, later.connection_id == delivery.connection_id,
        later.entity == delivery.entity,
        sa.or_(later.source_version > delivery.source_version,
               sa.and_(later.source_version == delivery.source_version, later.id > delivery.id)))


def last_op(session: Session, connection_id: str, entity: str, local_id: str) -> str | None:
    """Return what was asked last for a record of ours; None if nothing is remembered."""
    last = newest(session, connection_id, entity, local_id)
    return last.op if last else None


def newest(session: Session, connection_id: str, entity: str, local_id: str) -> Delivery | None:
    """Return the last delivery of a lane that is remembered."""
    return session.scalar(
        sa.select(Delivery)
        .where(Delivery.connection_id == connection_id, Delivery.entity == entity, Delivery.local_id == local_id)
        .order_by(Delivery.id.desc()).limit(1))


def listed(session: Session, asked: Mapping[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the deliveries within the subject's reach, newest first.

    Raises:
        InvalidCursor: the cursor is not one of this list.
        Invalid: there is no such entity to filter by.
    """
    adapters.require_entity(asked)
    query = filtered(asked).where(visible(subject, "read")).options(undefer(Delivery.external_id))
    order = Order(Delivery.id, Delivery.id, descending=True)
    return keyset_page(session, query, order, asked, subject, sealer, name="deliveries")


def filtered(asked: Mapping[str, Any]) -> sa.Select[Delivery]:
    """Select deliveries by the filters that were given."""
    return _filtered(sa.select(Delivery), Delivery, asked)


def _filtered(query: sa.Select[Any], one: Any, asked: Mapping[str, Any], but: Collection[str] = ()) -> sa.Select[Any]:
    query = narrowed(query, one, asked, "connection_id", "state", "entity", "local_id", "error_class")
    if asked.get("error_class"):
        query = query.where(one.error_class.is_not(None))  # a planner matches a partial index by its text
    # Ids rise with time: bounded by them, a time range is a stretch of whatever index the list walks.
    if since := asked.get("created_from"):
        query = query.where(one.created_at >= since, one.id >= _first_id(since - _APART))
    if until := asked.get("created_to"):
        query = query.where(one.created_at < until, one.id < _first_id(until + _APART))
    return query.where(sa.or_(one.error_class.is_(None), one.error_class.not_in(but))) if but else query


def _first_id(moment: dt.datetime) -> str:
    """Return what no id made at `moment` or later comes before: UUIDv7 begins with its milliseconds (RFC 9562, 5.7)."""
    since = max(int(moment.timestamp() * 1000), 0)
    return f"{since >> 16:08x}-{since & 0xFFFF:04x}"


def attempts(session: Session, asked: Mapping[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the attempts of a delivery, first to last.

    Raises:
        NotFound: there is no such delivery, or it is out of reach.
        InvalidCursor: the cursor is not one of this list.
    """
    delivery = get(session, asked["id"], subject)
    query = sa.select(Attempt).where(Attempt.delivery_id == delivery.id)
    return keyset_page(session, query, Order(Attempt.n, Attempt.id), asked, subject, sealer, name="attempts")


def ledger(session: Session, connection_id: str, subject: Subject) -> Ledger:
    """Return where everything that a connection accepted is.

    One statement reads both sides, so that they are of one moment: `accepted` from the counter that the intake keeps,
    the rest from the deliveries themselves and from what was rolled up before it was pruned.

    Raises:
        NotFound: there is no such connection, or it is out of reach.
    """
    connections.get(session, connection_id, subject)
    pruned = LedgerRow.__table__.c
    counted = (sa.select(Delivery.state, sa.func.count().label("many"))
               .where(Delivery.connection_id == connection_id).group_by(Delivery.state).subquery())
    rows = session.execute(
        sa.select(*(pruned[name] for name in ("accepted", *TERMINAL)), counted.c.state, counted.c.many)
        .select_from(LedgerRow).outerjoin(counted, sa.true()).where(pruned.connection_id == connection_id)).all()
    counts: dict[str, int] = {state: getattr(rows[0], state) for state in TERMINAL}
    for row in rows:
        if row.state is not None:
            counts[row.state] = counts.get(row.state, 0) + row.many
    return Ledger.of(connection_id, rows[0].accepted, counts)
