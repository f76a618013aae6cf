"""Sending a settled delivery again: as a delivery of its own, for a settled one never changes."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.context import Subject
from chassis.sealed import keyring_of
from contracts.errors import Conflict, InvalidTransition
from services.integrations.adapters import registry
from services.integrations.domain import failures
from services.integrations.domain.deliveries import DECIDED, Op
from services.integrations.models import Connection, Delivery
from services.integrations.operations import intake
from services.integrations.operations.claims import sought_before
from services.integrations.operations.locks import lock
from services.integrations.queries import deliveries, lanes, walks

log = telemetry.logger(__name__)

_REFUSED = {"no_copy": "The hub keeps no copy of the record: change it, and it is brought there",
            "deleted": "The record has been deleted here: sent again, it would be made there anew"}
DOUBTED = (failures.AMBIGUOUS, failures.UNRESOLVABLE)
"""Classes of which nobody knows whether the target has it: a person looks there first."""


def retry(session: Session, request: Mapping[str, Any], now: dt.datetime, *, by: Subject) -> Delivery:
    """Accept a delivery in the place of a dead one; return it, or the one that was accepted before.

    It brings the record as it is now, under the key of its version; a version that the target was brought is skipped.
    Was it never known whether the dead one arrived, the target is looked at first, and nothing is made twice. A target
    that cannot be asked is sent it at once, for whoever asks has looked there: if it had arrived, it is doubled unless
    the target honours the key.

    Raises:
        NotFound: there is none, or it is out of reach.
        InvalidTransition: it is not dead.
        Conflict: a newer delivery of the record has come after it, or the record is gone here.
    """
    dead = deliveries.get(session, request["id"], by, "operate")
    lock(session, [dead.connection_id])
    if (again := deliveries.replayed(session, dead.id, by)) is not None:
        return again
    if dead.state != "dead":
        raise InvalidTransition(f"Only a dead delivery is sent again; this one is {dead.state}", state=dead.state)
    lane = _lane(dead)
    if (newer := deliveries.overtaking(session, dead)) is not None:
        raise Conflict("A newer delivery of the record has come after it: see what became of that one", newer=newer)
    known = lanes.records(session, {lane[1:]}).get(lane[1:])
    if (fate := _fate(dead, known)) != "accepted":
        raise Conflict(_REFUSED[fate])
    [plan] = _plans(session, [dead], {lane[1:]: known}, now)
    _accept(session, [plan])
    log.info("delivery_retried", delivery_id=plan["id"], replay_of=dead.id, by=by.id)
    return deliveries.get(session, plan["id"], by, "operate")


def send_again(session: Session, connection_id: str, ids: Sequence[str], now: dt.datetime, *,
               force: bool = False) -> dict[str, int]:
    """Accept deliveries in the place of these, behind the events; return how many, and why the others needed none.

    Args:
        session: the transaction.
        connection_id: of all of them.
        ids: of settled deliveries.
        now: when.
        force: whether they go although the target was brought their version, and under a key of their own.
    """
    chosen = sa.select(Delivery).where(Delivery.id.in_(ids))
    keys = {(one.entity, one.local_id) for one in session.scalars(chosen)}
    for entity in sorted({entity for entity, _ in keys}):
        # Locked, so that an event of one of these records is wholly before this page or wholly behind it.
        session.execute(*walks.locked(entity, [id for kind, id in keys if kind == entity])).all()
    lock(session, [connection_id])
    last = list(session.scalars(deliveries.last_of_lane({"connection_id": connection_id}).where(Delivery.id.in_(ids))))
    known, busy = lanes.records(session, keys), lanes.open_lanes(session, {_lane(one) for one in last})
    fates = {one.id: "overtaken" if _lane(one) in busy else _fate(one, known.get((one.entity, one.local_id)))
             for one in last}
    sent = [one for one in last if fates[one.id] == "accepted"]
    plans = [plan | {"priority": lanes.BACKGROUND} | (_forced(plan) if force else {})
             for plan in _plans(session, sent, known, now)]
    intake.add(session, plans)
    counts = Counter(fates.values())
    counts["overtaken"] += len(ids) - len(last)
    return {"accepted": 0, "overtaken": 0, "no_copy": 0, **counts}


def _fate(one: Delivery, known: Any) -> str:
    # What was deleted here would be made there again: its delete may be long forgotten, or was never asked for.
    if one.op != "upsert":
        return "accepted"
    return "no_copy" if known is None else "deleted" if known.deleted else "accepted"


def _forced(plan: Mapping[str, Any]) -> dict[str, str]:
    return {"origin": "forced", "idempotency_key": f"{plan['idempotency_key']}-{plan['id']}"[:160]}


def _accept(session: Session, plans: Sequence[Mapping[str, Any]]) -> None:
    # An event takes no turn: it may have been accepted since we looked, and its delivery says all that ours would.
    try:
        intake.add(session, plans)
    except IntegrityError as error:
        raise Conflict("A change of one of these records came in meanwhile: look again") from error


def _plans(session: Session, dead: Sequence[Delivery], known: Mapping[tuple[str, str], Any],
           now: dt.datetime) -> list[dict[str, Any]]:
    """Return the deliveries that go in the place of these, all of one connection."""
    doubted = [one for one in dead if one.error_class in DOUBTED]
    bound = lanes.bindings(session, {_lane(one) for one in doubted})
    plans = {one.id: _plan(one, known.get((one.entity, one.local_id)), now) for one in dead}
    for one in doubted:
        if _can_be_looked_for(session, one, bound.get(_lane(one))):
            plans[one.id] |= {"state": "in_doubt", "doubt_since": one.doubt_since or one.settled_at}
    return list(plans.values())


def _plan(dead: Delivery, known: Any, now: dt.datetime) -> dict[str, Any]:
    plan = intake.plan(*_lane(dead), cast("Op", dead.op), known.version if known else dead.source_version, now)
    plan |= {"origin": "replay", "replay_of": dead.id, "doubt_since": None}
    # What a person decided stays a decision: it goes although the target was brought that version, and by its own key.
    decided = {"origin": dead.origin, "idempotency_key": dead.idempotency_key} if dead.origin in DECIDED else {}
    return plan | decided


def _can_be_looked_for(session: Session, dead: Delivery, binding: Any) -> bool:
    """Tell whether a look at the target can find what a lost call may have left, and bind it."""
    if binding is None:
        return False
    spec = registry.load(session.get_one(Connection, dead.connection_id).adapter).spec
    return (binding.external_id is not None or sought_before(keyring_of(session), binding) is not None
            or spec.sought_by(dead.entity, dead.local_id, None) is not None)


def _lane(dead: Delivery) -> lanes.Lane:
    return dead.connection_id, dead.entity, dead.local_id
