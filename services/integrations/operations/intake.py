"""An event comes in: keep the record, accept one delivery per route, count it. One transaction, with the inbox row."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from chassis.crypto import Keyring
from chassis.database import new_id
from services.integrations.domain.deliveries import Op, Wait, is_stale, succeed, supersedes
from services.integrations.models import Delivery, LedgerRow
from services.integrations.operations import agreements, records
from services.integrations.operations.bulk import update_each
from services.integrations.queries import lanes
from services.integrations.queries.statements import built_once, table_of
from services.integrations.routing import AWAITED, WAYS

_DELIVERY, _LEDGER = table_of(Delivery), table_of(LedgerRow)
_ACCEPTED = sa.insert(_DELIVERY)
_YIELDING = {name: insert(_DELIVERY).on_conflict_do_nothing().returning(_DELIVERY.c.connection_id)
             for name, insert in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))}


@dataclass(frozen=True)
class Change:
    """A change of one record of another service, as its event told it.

    Attributes:
        event_id, type, origin: of the envelope.
        id: of the record.
        version: of the record after the change.
        state: the whole record, JSON-ready and in clear.
        traceparent: of the envelope (W3C Trace Context); empty if nobody traces it.
    """

    event_id: str
    type: str
    origin: str
    id: str
    version: int
    state: Mapping[str, Any]
    traceparent: str = ""


def accept(session: Session, keyring: Keyring, change: Change, now: dt.datetime) -> list[str]:
    """Accept `change` for every connection that it concerns; return the connections that now have work."""
    way = WAYS[change.type]
    known = records.put(session, keyring, way.entity, change.id, change.version, change.state, now, routed=way.routed,
                        deleted=way.verb == "delete")
    # A change is old only if one as new was accepted: a snapshot may be here first, and says nothing to the targets.
    seen = known.routed if way.routed else known.version
    stale = is_stale(change.version, seen)
    if stale and not way.routed:
        return []
    # A connection may need the record without a route of its own for it: an order of it waits for this customer.
    targets = lanes.concerned(session, way.entity, change.id, routed=way.routed, awaited=way.entity in AWAITED)
    if not targets:
        return []
    echoes = {id for id in sorted(targets) if _take_over(session, way.entity, change, id, stale=stale)}
    plans = [_plan(way.entity, way.verb, change, connection_id, now) for connection_id in targets]
    for plan in plans:
        if stale:
            _settle_at_once(plan, now, f"version {change.version} arrived after version {seen}")
        elif plan["connection_id"] in echoes or (way.verb != "upsert" and change.origin == plan["connection_id"]):
            _settle_at_once(plan, now, "the change came from this connection")
    fresh = [plan for plan in plans if plan["state"] == "pending"]
    _replace_waiting(session, way.verb, fresh, now)
    session.execute(_ACCEPTED, plans)
    # By what was to go where, not by the rows above: a delivery that gets lost in between shows in the ledger.
    _count(session, dict.fromkeys(targets, 1))
    return [plan["connection_id"] for plan in fresh]


def _take_over(session: Session, entity: str, change: Change, connection_id: str, *, stale: bool) -> bool:
    """Note what the hub has taken over from this connection's target; return whether all of it stands there still."""
    came_back = change.origin == connection_id and not stale
    if not came_back and not agreements.born_there(change.state, connection_id):
        return False
    return agreements.take_over(session, (connection_id, entity, change.id), change.state, change.version,
                                came_back=came_back)


def enqueue(session: Session, op: Op, plans: list[dict[str, Any]], now: dt.datetime) -> None:
    """Accept deliveries that no event asks for; what waits in their lanes gives way to them."""
    _replace_waiting(session, op, plans, now)
    add(session, plans)


def add(session: Session, plans: Iterable[Mapping[str, Any]]) -> None:
    """Insert deliveries and count each as accepted."""
    rows = list(plans)
    if not rows:
        return
    session.execute(_ACCEPTED, rows)
    _count(session, Counter(row["connection_id"] for row in rows))


def add_missing(session: Session, plans: Sequence[Mapping[str, Any]]) -> None:
    """Insert upserts that nothing waits in the lanes of, and count them; where one waits after all, it is left to that.

    An event, which locks its record and not these connections, may have been accepted since the lanes were looked at.
    """
    if plans:
        added = session.execute(_YIELDING[session.get_bind().dialect.name], plans).scalars()
        _count(session, Counter(added))


def _count(session: Session, counted: Mapping[str, int]) -> None:
    for many in set(counted.values()):
        chosen = sorted(id for id, count in counted.items() if count == many)
        session.execute(*_counting(chosen, many))


@built_once
def _counting(connection_ids: Collection[str], many: int) -> sa.Executable:
    return (sa.update(_LEDGER).where(_LEDGER.c.connection_id.in_(connection_ids))
            .values(accepted=_LEDGER.c.accepted + many))


def plan(connection_id: str, entity: str, local_id: str, op: Op, version: int, now: dt.datetime, *,
         event_id: str | None = None, traceparent: str = "") -> dict[str, Any]:
    """Return the row of a new delivery, due at once."""
    return {
        "id": new_id(), "connection_id": connection_id, "entity": entity, "local_id": local_id, "op": op,
        "source_event_id": event_id, "source_version": version,
        "idempotency_key": f"{entity}-{local_id}-{version}-{op}", "state": "pending", "attempts": 0, "deferrals": 0,
        "due_at": now, "deadline_at": None, "blocked_entity": None, "blocked_id": None, "last_error": None,
        "settled_at": None, "traceparent": traceparent or None, "created_at": now,
    }


def _plan(entity: str, op: Op, change: Change, connection_id: str, now: dt.datetime) -> dict[str, Any]:
    return plan(connection_id, entity, change.id, op, change.version, now, event_id=change.event_id,
                traceparent=change.traceparent)


def _settle_at_once(row: dict[str, Any], now: dt.datetime, reason: str) -> None:
    row.update(state="skipped", last_error=reason, settled_at=now)


def _replace_waiting(session: Session, op: Op, fresh: list[dict[str, Any]], now: dt.datetime) -> None:
    """Let each new delivery take the place, and the retries, of the upsert that waits in its lane."""
    if not supersedes(op, "upsert"):
        return
    found = lanes.waiting_upserts(session, [_lane(row) for row in fresh])
    replaced = []
    for row in fresh:
        old = found.get(_lane(row))
        if old is None:
            continue
        wait = succeed(op, Wait(old.state, old.due_at, old.attempts, old.deferrals, old.blocked_entity, old.blocked_id,
                                old.deadline_at), now)
        row.update(state=wait.state, due_at=wait.due_at, attempts=wait.attempts, deferrals=wait.deferrals,
                   blocked_entity=wait.blocked_entity, blocked_id=wait.blocked_id, deadline_at=wait.deadline_at)
        replaced.append({"id": old.id, "state": "superseded", "superseded_by": row["id"], "settled_at": now})
    update_each(session, _DELIVERY, replaced, match=("id",))


def _lane(row: Mapping[str, Any]) -> lanes.Lane:
    return row["connection_id"], row["entity"], row["local_id"]
