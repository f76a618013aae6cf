"""Calling off a delivery that has not gone yet."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.context import Subject
from contracts.errors import InvalidTransition
from services.integrations.domain.deliveries import WAITING
from services.integrations.models import Delivery
from services.integrations.operations import announcements
from services.integrations.operations.announcements import Settled
from services.integrations.operations.locks import lock
from services.integrations.queries import deliveries

log = telemetry.logger(__name__)


def cancel(session: Session, request: Mapping[str, Any], now: dt.datetime, *, by: Subject) -> Delivery:
    """Call a waiting delivery off: nothing of it is sent. The next change of the record goes as ever.

    Cancelling again changes nothing.

    Raises:
        NotFound: there is none, or it is out of reach.
        InvalidTransition: it is on its way, or settled; what is on its way may have arrived.
    """
    waiting = deliveries.get(session, request["id"], by, "operate")
    lock(session, [waiting.connection_id])
    reason = request["reason"] or f"called off by {by.id}"
    # The event of a newer version takes its place without that lock.
    called_off = session.execute(
        sa.update(Delivery).where(Delivery.id == waiting.id, Delivery.state.in_(WAITING))
        .values(state="cancelled", settled_at=now, last_error=reason, error_class=None, blocked_entity=None,
                blocked_id=None)
        .returning(Delivery.id)).one_or_none()
    session.refresh(waiting)
    if called_off is None and waiting.state != "cancelled":
        raise InvalidTransition(f"Only a delivery that waits can be called off; this one is {waiting.state}",
                                state=waiting.state)
    if called_off is not None:
        lane = waiting.connection_id, waiting.entity, waiting.local_id
        announcements.deliveries_settled(session, [
            Settled(id=waiting.id, lane=lane, version=waiting.source_version, state="cancelled", error=reason,
                    traceparent=waiting.traceparent or "", accepted_at=waiting.created_at)])
        log.info("delivery_cancelled", delivery_id=waiting.id, by=by.id)
    return waiting
