"""Sending a settled delivery again: as a delivery of its own, for a settled one never changes.

It brings the record as it is now, or the payload that the delivery sent. What was sent already in one of these ways is
not sent so a second time (`uq_delivery_sent_again`), whoever asks how often, unless that was called off.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.context import Subject
from chassis.sealed import keyring_of
from contracts.errors import Conflict, InvalidTransition
from services.integrations.adapters import registry
from services.integrations.domain import failures
from services.integrations.domain.deliveries import BACKGROUND, DECIDED, Op, is_stale
from services.integrations.domain.next_steps import Words
from services.integrations.models import Connection, Delivery
from services.integrations.operations import intake, payloads
from services.integrations.operations.locks import lock
from services.integrations.operations.payloads import Payload
from services.integrations.operations.snapshots import sought_before
from services.integrations.queries import deliveries, lanes, walks

log = telemetry.logger(__name__)

Mode = Literal["current", "as_sent"]
Fate = Literal["accepted", "overtaken", "no_copy", "deleted", "not_kept", "stale", "sent_again"]
REASONS: Mapping[Fate, Words] = {
    "overtaken": {"en": "Another delivery of the record is open, or has come after it",
                  "zh-CN": "该记录有另一条投递未结束，或之后已有新的投递"},
    "sent_again": {"en": "This was sent again already: replay the delivery that took its place",
                   "zh-CN": "已经重新发送过：请重放代替它的那条投递"},
    "no_copy": {"en": "The hub keeps no copy of the record: change it, and it is brought there",
                "zh-CN": "本系统没有该记录的副本：修改该记录后会自动发送"},
    "deleted": {"en": "The record has been deleted here: sent again, it would be made there anew",
                "zh-CN": "该记录已在本系统中删除：重新发送会在对方重新创建"},
    "not_kept": {"en": "What the delivery sent is not kept: it made no call, or made it before the hub kept what it "
                       "sends, or it changed a record that has gone there",
                 "zh-CN": "没有保存它当时发送的内容：它没有发出调用，或发出时系统尚未保存内容，"
                          "或它修改的记录在对方已不存在"},
    "stale": {"en": "The target was brought a version as new: only a replay with `force` sends an older one",
              "zh-CN": "对方已收到同样新或更新的版本：只有带 `force` 的重放才发送更旧的版本"},
}
"""Why a delivery is not sent again."""
DOUBTED = (failures.AMBIGUOUS, failures.UNRESOLVABLE)
"""Classes of which nobody knows whether the target has it: a person looks there first."""


@dataclass(frozen=True)
class _Again:
    """A delivery that is to be sent again, with our copy of its record, or what it sent if that goes again."""

    of: Delivery
    copy: Any
    sent: Payload | None
    key: str

    @property
    def lane(self) -> lanes.Lane:
        return self.of.connection_id, self.of.entity, self.of.local_id


def retry(session: Session, request: Mapping[str, Any], now: dt.datetime, *, by: Subject) -> Delivery:
    """Accept a delivery in the place of a dead one; return it, or the one that was accepted before.

    It brings the record as it is now, under the key of its version, or, as `payload` asks, what the dead one sent under
    the key of that one; a version that the target was brought is skipped. Was it never known whether the dead one
    arrived, the target is looked at first, and nothing is made twice. A target that cannot be asked is sent it at once,
    for whoever asks has looked there: if it had arrived, it is doubled unless the target honours the key.

    Raises:
        NotFound: there is none, or it is out of reach.
        InvalidTransition: it is not dead.
        Conflict: its connection is stopped, a newer delivery of the record has come after it, the record is gone here,
            or what was sent is not kept or older than what the target was brought.
    """
    mode: Mode = request.get("payload", "current")
    dead = deliveries.get(session, request["id"], by, "operate")
    connection = lock(session, [dead.connection_id])[dead.connection_id]
    if (before := deliveries.replayed(session, dead.id, mode, by)) is not None:
        return before
    if dead.state != "dead":
        raise InvalidTransition(f"Only a dead delivery is sent again; this one is {dead.state}", state=dead.state)
    require_accepting(connection)
    if (newer := deliveries.overtaking(session, dead)) is not None:
        raise Conflict("A newer delivery of the record has come after it: see what became of that one", newer=newer)
    [again] = _looked_up(session, [dead], mode)
    if (fate := _judged(session, [again], mode, force=False)[dead.id]) != "accepted":
        raise Conflict(REASONS[fate]["en"])
    [plan] = _plans(session, [again], mode, now)
    _accept(session, [plan])
    log.info("delivery_retried", delivery_id=plan["id"], replay_of=dead.id, by=by.id)
    return deliveries.get(session, plan["id"], by, "operate")


def send_again(session: Session, connection_id: str, ids: Sequence[str], now: dt.datetime, *, mode: Mode = "current",
               force: bool = False) -> dict[str, int]:
    """Accept deliveries in the place of these, behind the events; return how many, and why the others needed none.

    Args:
        session: the transaction.
        connection_id: of all of them.
        ids: of settled deliveries.
        now: when.
        mode: whether their records go as they are now, or what they sent goes as it was.
        force: whether they go although the target was brought their version, and under a key of their own; what was
            sent goes then although something newer has come after it.

    Raises:
        Conflict: the connection is stopped.
    """
    of_these = sa.select(Delivery).where(Delivery.id.in_(ids))
    keys = {(one.entity, one.local_id) for one in session.scalars(of_these)}
    for entity in sorted({entity for entity, _ in keys}):
        # Locked, so that an event of one of these records is wholly before this page or wholly behind it.
        session.execute(*walks.locked(entity, [id for kind, id in keys if kind == entity])).all()
    require_accepting(lock(session, [connection_id])[connection_id])
    last = deliveries.last_of_lane({"connection_id": connection_id}).where(Delivery.id.in_(ids))
    chosen = list(session.scalars(of_these if mode == "as_sent" and force else last))
    looked_up = _looked_up(session, chosen, mode)
    fates = _fates(session, looked_up, mode, force=force)
    sent = [one for one in looked_up if fates[one.of.id] == "accepted"]
    intake.add(session, [plan | {"priority": BACKGROUND} | (_forced(plan) if force else {})
                         for plan in _plans(session, sent, mode, now)])
    counts: Counter[str] = Counter(fates.values())
    counts["overtaken"] += len(ids) - len(chosen)
    return {"accepted": 0, "overtaken": 0, "no_copy": 0, **counts}


def fates(session: Session, chosen: Sequence[Delivery], mode: Mode, *, force: bool) -> dict[str, Fate]:
    """Return, by delivery, what would become of sending it again now: `accepted`, or why it is left out."""
    return _fates(session, _looked_up(session, chosen, mode), mode, force=force)


def require_accepting(connection: Connection) -> None:
    """See that a connection takes deliveries.

    Raises:
        Conflict: it is stopped.
    """
    if connection.desired_state == "stopped":
        raise Conflict(f"{connection.name} is stopped: resume it first")


def _looked_up(session: Session, chosen: Sequence[Delivery], mode: Mode) -> list[_Again]:
    known = lanes.records(session, {(one.entity, one.local_id) for one in chosen})
    kept = payloads.last_sent(session, chosen) if mode == "as_sent" else {}
    found = []
    for one in chosen:
        copy, sent = known.get((one.entity, one.local_id)), kept.get(one.id)
        # A fact is sent again once, whatever has become of its record meanwhile.
        key = ("" if one.op == "append" else sent.hashed(keyring_of(session)) if sent
               else copy.state_hash if copy else "")
        found.append(_Again(one, copy, sent, key))
    return found


def _fates(session: Session, chosen: Sequence[_Again], mode: Mode, *, force: bool) -> dict[str, Fate]:
    busy = lanes.open_lanes(session, {one.lane for one in chosen})
    judged = _judged(session, chosen, mode, force=force)
    # What is open behind a dead fact waits for it.
    return {one.of.id: "overtaken" if one.lane in busy and one.of.op != "append" else judged[one.of.id]
            for one in chosen}


def _judged(session: Session, chosen: Sequence[_Again], mode: Mode, *, force: bool) -> dict[str, Fate]:
    """Return what would become of each if nothing of its record were open."""
    bound = lanes.bindings(session, {one.lane for one in chosen if one.sent})
    done = deliveries.replay_keys(session, [one.of.id for one in chosen], mode)

    def fate(one: _Again) -> Fate:
        if (one.of.id, one.key) in done:
            return "sent_again"
        if one.of.op != "upsert":
            return "accepted"
        # What was deleted here would be made there again: its delete may be long forgotten, or was never asked for.
        if one.copy is None or one.copy.deleted:
            return "no_copy" if one.copy is None else "deleted"
        if mode == "current":
            return "accepted"
        binding = bound.get(one.lane)
        acked = binding.acked_version if binding is not None and binding.external_id else None
        if one.sent is None or (acked is None and not one.sent.whole):
            return "not_kept"
        return "stale" if not force and is_stale(one.sent.version, acked) else "accepted"

    return {one.of.id: fate(one) for one in chosen}


def _forced(plan: Mapping[str, Any]) -> dict[str, str]:
    return {"origin": "forced", "idempotency_key": f"{plan['idempotency_key']}-{plan['id']}"[:160]}


def _accept(session: Session, plans: Sequence[Mapping[str, Any]]) -> None:
    # An event takes no turn: it may have been accepted since we looked, and its delivery says all that ours would.
    try:
        intake.add(session, plans)
    except IntegrityError as error:
        raise Conflict("A change of one of these records came in meanwhile: look again") from error


def _plans(session: Session, chosen: Sequence[_Again], mode: Mode, now: dt.datetime) -> list[dict[str, Any]]:
    """Return the deliveries that go in the place of these, all of one connection."""
    doubted = [one for one in chosen if one.of.error_class in DOUBTED]
    bound = lanes.bindings(session, {one.lane for one in doubted})
    plans = {one.of.id: _plan(session, one, mode, now) for one in chosen}
    for one in doubted:
        if _can_be_looked_for(session, one.of, bound.get(one.lane)):
            plans[one.of.id] |= {"state": "in_doubt", "doubt_since": one.of.doubt_since or one.of.settled_at}
    return list(plans.values())


def _plan(session: Session, again: _Again, mode: Mode, now: dt.datetime) -> dict[str, Any]:
    one, sent = again.of, again.sent
    moves = again.copy is not None and one.op != "append"
    version = sent.version if sent else again.copy.version if moves else one.source_version
    plan = intake.plan(*again.lane, cast("Op", one.op), version, now)
    plan |= {"origin": "replay", "replay_of": one.id, "replay_mode": mode, "doubt_since": None,
             "payload": sent.kept(keyring_of(session), plan["id"]) if sent else None, "payload_hash": again.key,
             "mapping_version": one.mapping_version if sent else None}
    if sent is not None:
        return plan | {"idempotency_key": one.idempotency_key}
    # What a person decided stays a decision: it goes although the target was brought that version, and by its own key.
    decided = {"origin": one.origin, "idempotency_key": one.idempotency_key} if one.origin in DECIDED else {}
    return plan | decided


def _can_be_looked_for(session: Session, dead: Delivery, binding: Any) -> bool:
    """Tell whether a look at the target can find what a lost call may have left, and bind it."""
    if binding is None:
        return False
    spec = registry.load(session.get_one(Connection, dead.connection_id).adapter).spec
    return (binding.external_id is not None or sought_before(keyring_of(session), binding) is not None
            or spec.sought_by(dead.entity, dead.local_id, None) is not None)
