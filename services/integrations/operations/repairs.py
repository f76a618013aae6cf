"""What is done about what a reconciliation has found: our record brought there again, theirs taken over, or a conflict.

Nothing is ever deleted at a target for a finding.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.sealed import keyring_of
from services.integrations.domain.bindings import create_key
from services.integrations.domain.deliveries import BACKGROUND
from services.integrations.domain.reconciliation import CHANGING
from services.integrations.models import Binding, Finding
from services.integrations.operations import conflicts, disputes, inbound, intake
from services.integrations.operations.bulk import Upsert, excluded
from services.integrations.operations.inbound import News
from services.integrations.operations.locks import lock
from services.integrations.operations.reconciliations import Scope, Side, sides
from services.integrations.queries import lanes, sightings, walks
from services.integrations.queries.statements import table_of

_BINDING = table_of(Binding)
_REBOUND = Upsert(_BINDING, changing={
    name: excluded(_BINDING.c[name])
    for name in ("external_id", "state", "acked_version", "remote_version", "base_snapshot", "last_verified_at")})


def carry_out(scope: Scope, ids: Sequence[str], changed: Collection[str], session: Session, now: dt.datetime
              ) -> Counter[str]:
    """Do what was decided about these findings; return how many of them ended how.

    Whose record has moved since it was looked at, as that of those in `changed` has, is left to the next run.
    """
    found = sa.select(Finding).where(Finding.id.in_(ids), Finding.state == "decided").order_by(Finding.id)
    findings = list(session.scalars(found))
    # Locked, so that an event of one of these records is wholly before this page or wholly behind it.
    session.execute(*walks.locked(scope.entity, sorted({one.local_id for one in findings if one.local_id})))
    lock(session, [scope.connection_id])
    page = sides(session, keyring_of(session), scope, sorted({one.local_id for one in findings if one.local_id}))
    seen = sightings.of(session, scope.connection_id, scope.entity,
                        sorted({one.external_id for one in findings if one.external_id}))
    ended: Counter[str] = Counter()
    repaired: set[str | None] = set()
    for finding in findings:
        do = _DO.get(finding.decision or "")
        side = page.get(finding.local_id or "")
        moved = finding.id in changed or _has_moved(scope, finding, side, seen.get(finding.external_id or ""))
        # A record that the target has listed twice has been found twice.
        twice = finding.decision == "repair" and finding.local_id in repaired
        if do is None:
            finding.state = "done"
        elif moved or twice or not do(session, scope, finding, side, now):
            finding.state = "skipped"
            ended["overtaken"] += 1
        else:
            finding.state = "done"
            ended[finding.decision or ""] += 1
            if finding.decision == "repair":
                repaired.add(finding.local_id)
    session.flush()
    return ended


def _has_moved(scope: Scope, finding: Finding, side: Side | None, sighting: Any) -> bool:
    """Tell whether a record moved on either side since the run began: what was read of it may be old by now."""
    if finding.decision not in CHANGING:
        return False
    seen_since = finding.decision == "adopt" and sighting is not None and sighting.seen_at > scope.since
    return seen_since or (finding.local_id is not None and (side is None or not side.ours.settled))


def _repair(session: Session, scope: Scope, finding: Finding, side: Side | None, now: dt.datetime) -> bool:
    """Bring our record there again: under its own id, a new one, or that of the record which carries its key."""
    if side is None or finding.local_id is None:
        return False
    if finding.kind == "stale_binding":
        place = (scope.connection_id, scope.entity, finding.candidates[0])
        if lanes.bound_elsewhere(session, [place]).get(place, finding.local_id) != finding.local_id:
            return False
        _bind(session, scope, finding.local_id, finding.candidates[0])
    elif finding.kind == "missing_remote" and finding.external_id is not None:
        conflicts.unbind(session, scope.lane(finding.local_id), finding.external_id)
    plan = intake.plan(*scope.lane(finding.local_id), "upsert", side.version, now)
    plan |= {"origin": "reconcile", "priority": BACKGROUND,
             "idempotency_key": f"{plan['idempotency_key']}-{finding.id}"[:160]}
    intake.add(session, [plan])
    return True


def _bind(session: Session, scope: Scope, local_id: str, external_id: str) -> None:
    # As after a lost answer: nothing is known of what people did to it, so that a write merges instead of replacing.
    lane = scope.lane(local_id)
    _REBOUND.put(session, [dict(zip(("connection_id", "entity", "local_id"), lane, strict=True)) | {
        "external_id": external_id, "state": "bound", "create_key": create_key(lane), "acked_version": 0,
        "remote_version": None, "base_snapshot": None, "last_verified_at": None}])


def _adopt(session: Session, scope: Scope, finding: Finding, _side: Side | None, now: dt.datetime) -> bool:
    """Tell the owner how it stands there, as if they had just changed it."""
    told = (finding.detail or {}).get("told")
    if finding.external_id is None or told is None:
        return False
    news = News(external_id=finding.external_id, version=told["version"] or inbound.GONE, record=told["record"],
                account=told["record"].get("account"))
    inbound.tell_again(session, (scope.connection_id, scope.entity, finding.external_id), news,
                       list(finding.fields) or None, finding.local_id, now)
    return True


def _quarantine(session: Session, scope: Scope, finding: Finding, _side: Side | None, now: dt.datetime) -> bool:
    """Ask a person: until the conflict is decided, no run touches the record."""
    if finding.external_id is None:
        return False
    place = scope.connection_id, scope.entity, finding.external_id
    disputes.found(session, finding.kind, place, finding.local_id, now, finding.fields)
    return True


_DO: dict[str, Callable[[Session, Scope, Finding, Side | None, dt.datetime], Any]] = {
    "repair": _repair, "adopt": _adopt, "quarantine": _quarantine}
