"""Sending a dead delivery again: as a delivery of its own, for a settled one never changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.context import Subject
from contracts.errors import Conflict, InvalidTransition
from services.integrations.domain.deliveries import Op
from services.integrations.models import Delivery
from services.integrations.operations import intake
from services.integrations.operations.locks import lock
from services.integrations.queries import deliveries, lanes

log = telemetry.logger(__name__)

MOST, EXAMPLES = 500, 10
"""Deliveries that are sent again in one transaction, and shown before."""


def retry(session: Session, request: Mapping[str, Any], now: dt.datetime, *, by: Subject) -> Delivery:
    """Accept a delivery in the place of a dead one; return it, or the one that was accepted before.

    It brings the record as it is now, under the key of its version: what the target has of it already is not made
    twice, and a version that it was brought is skipped.

    Raises:
        NotFound: there is none, or it is out of reach.
        InvalidTransition: it is not dead.
        Conflict: a newer delivery of the record has come after it, or there is no copy of the record.
    """
    dead = deliveries.get(session, request["id"], by, "operate")
    lock(session, [dead.connection_id])
    if (again := deliveries.replayed(session, dead.id, by)) is not None:
        return again
    if dead.state != "dead":
        raise InvalidTransition(f"Only a dead delivery is sent again; this one is {dead.state}", state=dead.state)
    lane = (dead.connection_id, dead.entity, dead.local_id)
    newest = deliveries.newest(session, *lane)
    if newest is not None and newest.id != dead.id:
        raise Conflict("A newer delivery of the record has come after it: see what became of that one", newer=newest.id)
    known = lanes.records(session, {lane[1:]}).get(lane[1:])
    if known is None and dead.op == "upsert":
        raise Conflict("The hub keeps no copy of the record: change it, and it is brought there")
    plan = _plan(dead, known, now)
    intake.add(session, [plan])
    log.info("delivery_retried", delivery_id=plan["id"], replay_of=dead.id, by=by.id)
    return deliveries.get(session, plan["id"], by, "operate")


def retry_dead(session: Session, request: Mapping[str, Any], now: dt.datetime, *, by: Subject) -> dict[str, Any]:
    """Tell which dead deliveries of a connection could be sent again, or send them if their number is confirmed.

    Raises:
        NotFound: there is no such connection, or deliveries are out of reach.
        Conflict: another number was confirmed than there are; `found` says how many.
    """
    connection_id, confirmed = request["id"], request.get("confirm")
    lock(session, [connection_id])
    dead = deliveries.unanswered(session, {**request, "connection_id": connection_id, "state": "dead"}, by, MOST + 1)
    more, dead = len(dead) > MOST, dead[:MOST]
    known = lanes.records(session, {(one.entity, one.local_id) for one in dead if one.op == "upsert"})
    sent = [one for one in dead if one.op != "upsert" or (one.entity, one.local_id) in known]
    told = {"connection_id": connection_id, "found": len(sent), "accepted": 0, "more": more,
            "examples": sent[:EXAMPLES]}
    if confirmed is None:
        return told
    if confirmed != len(sent):
        raise Conflict(f"There are {len(sent)} of them now, not {confirmed}: look again", found=len(sent))
    intake.add(session, [_plan(one, known.get((one.entity, one.local_id)), now) for one in sent])
    log.info("deliveries_retried", connection_id=connection_id, count=len(sent), by=by.id)
    return told | {"accepted": len(sent)}


def _plan(dead: Delivery, known: Any, now: dt.datetime) -> dict[str, Any]:
    lane = (dead.connection_id, dead.entity, dead.local_id)
    plan = intake.plan(*lane, cast("Op", dead.op), known.version if known else dead.source_version, now)
    return plan | {"origin": "replay", "replay_of": dead.id}
