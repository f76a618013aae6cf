"""What became of bringing a record to other systems, and what comes next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.paging import Page, Sealer
from contracts import deliveries as contract
from contracts.schema import attributes
from services.integrations.domain.next_steps import next_step
from services.integrations.models import Attempt, Connection, Delivery
from services.integrations.queries import deliveries

MOST_TRIES = 20
"""Attempts that are told of one delivery, the latest; what waits for days may have hundreds."""
_PREVIEWS = {"request_preview": None, "response_preview": None}


def of_record(session: Session, asked: Mapping[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of a record's deliveries, newest first, each with its attempts and what comes next.

    Args:
        session: to read with.
        asked: the record; `previews` says whether to tell what was sent and answered.
        subject: the gateway, which has asked the record's service before.
        sealer: makes cursors opaque.

    Raises:
        InvalidCursor: the cursor is not one of this list.
    """
    found = deliveries.listed(session, asked, subject, sealer)
    connections = {one.id: one for one in session.scalars(
        sa.select(Connection).where(Connection.id.in_({delivery.connection_id for delivery in found.items})))}
    tries = _tries(session, [delivery.id for delivery in found.items])
    told = [{**_told(delivery, connections[delivery.connection_id]), "needs": _needed(session, delivery, connections),
             "tries": [_shown(one, previews=asked["previews"]) for one in tries[delivery.id]]}
            for delivery in found.items]
    return Page(told, found.next)


def of_delivery(session: Session, delivery: Delivery) -> dict[str, Any]:
    """Return a delivery, and what comes next."""
    connection = session.get_one(Connection, delivery.connection_id)
    return attributes(contract.Delivery, delivery) | {
        "next_step": next_step(delivery.state, delivery.error_class, connection, delivery.entity)}


def _told(delivery: Delivery, connection: Connection) -> dict[str, Any]:
    return {
        "id": delivery.id, "connection_id": connection.id, "connection": connection.name, "op": delivery.op,
        "entity": delivery.entity, "local_id": delivery.local_id,
        "state": delivery.state, "error_class": delivery.error_class, "reason": delivery.last_error,
        "next_step": next_step(delivery.state, delivery.error_class, connection, delivery.entity),
        "due_at": delivery.due_at, "created_at": delivery.created_at, "settled_at": delivery.settled_at,
    }


def _needed(session: Session, delivery: Delivery, connections: Mapping[str, Connection]) -> dict[str, Any] | None:
    """Return the latest delivery of what keeps this one; None if nothing does, or nothing is known of it."""
    if delivery.blocked_entity is None or delivery.blocked_id is None:
        return None
    found = deliveries.newest(session, delivery.connection_id, delivery.blocked_entity, delivery.blocked_id)
    return _told(found, connections[delivery.connection_id]) if found else None


def _shown(attempt: Attempt, *, previews: bool) -> dict[str, Any]:
    """Return an attempt; without its previews they are not even opened."""
    names = [name for name in contract.Attempt().fields if previews or name not in _PREVIEWS]
    return _PREVIEWS | {name: getattr(attempt, name) for name in names}


def _tries(session: Session, ids: Sequence[str]) -> Mapping[str, list[Attempt]]:
    """Return delivery → its latest attempts, first to last."""
    rank = sa.func.row_number().over(partition_by=Attempt.delivery_id, order_by=Attempt.n.desc())
    ranked = sa.select(Attempt.id, rank.label("place")).where(Attempt.delivery_id.in_(ids)).subquery()
    query = sa.select(Attempt).join(ranked, ranked.c.id == Attempt.id).where(ranked.c.place <= MOST_TRIES)
    tries: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in session.scalars(query.order_by(Attempt.delivery_id, Attempt.n)):
        tries[attempt.delivery_id].append(attempt)
    return tries
