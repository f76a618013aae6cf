"""What a confirmed matching does: binds what is there already, and holds back what a person left out."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.sealed import keyring_of
from hub_adapter.port import Remote
from services.integrations.domain import failures, finding_reasons
from services.integrations.domain.bindings import create_key
from services.integrations.domain.next_steps import Words
from services.integrations.models import Binding, Delivery, Finding
from services.integrations.models.finding import sealed_detail
from services.integrations.operations import dependents
from services.integrations.operations.bulk import Upsert, excluded
from services.integrations.operations.locks import lock
from services.integrations.operations.matching import Matching
from services.integrations.queries import lanes
from services.integrations.queries import matching as queries
from services.integrations.queries.statements import table_of

_BINDING = table_of(Binding)
_FREE = sa.and_(_BINDING.c.external_id.is_(None), _BINDING.c.state != sa.literal_column(repr(queries.UNDER_WAY)))
_LINKED = Upsert(_BINDING, where=_FREE, changing={name: excluded(_BINDING.c[name]) for name in (
    "state", "external_id", "acked_version", "remote_version", "base_snapshot", "sought_sealed", "last_verified_at")})
_SETTLED = Upsert(_BINDING, where=_FREE, changing={"state": excluded(_BINDING.c.state)})


def link(session: Session, of: Matching, page: Sequence[Remote], now: dt.datetime) -> Mapping[str, int]:
    """Bind what was to be linked and is on this page of the target's listing; return counts.

    A record that was bound, begun or deleted meanwhile, on either side, is not forced: its finding tells.
    """
    lock(session, [of.connection_id])
    remotes = {remote.external_id: remote for remote in page if remote.known_by is None or remote.known_by}
    wanted = session.scalars(sa.select(Finding).where(
        Finding.run_id == of.run_id, Finding.external_id.in_(list(remotes)), Finding.decision == "link",
        Finding.state == "decided").order_by(Finding.id)).all()
    obstacles = _obstacles(session, of, wanted)
    rows = []
    for finding in wanted:
        if (obstacle := obstacles.get(finding.id)) is not None:
            _tell(session, finding, obstacle)
            continue
        finding.state = "done"
        rows.append(_row(of, finding.local_id or "", "bound") | {
            "external_id": finding.external_id, "remote_version": remotes[finding.external_id or ""].version,
            "base_snapshot": None, "sought_sealed": None, "last_verified_at": now})
    _LINKED.put(session, rows)
    dependents.release(session, [_lane(of, row["local_id"]) for row in rows], now)
    return {"linked": len(rows), "not_linked": len(wanted) - len(rows)}


def _obstacles(session: Session, of: Matching, wanted: Sequence[Finding]) -> dict[str, Words]:
    """Return, by finding, why its two records cannot be bound to each other any more."""
    ours = {finding.id: _lane(of, finding.local_id or "") for finding in wanted}
    theirs = {finding.id: (of.connection_id, of.entity, finding.external_id or "") for finding in wanted}
    bindings, known = lanes.bindings(session, set(ours.values())), lanes.records(
        session, {(of.entity, lane[2]) for lane in ours.values()})
    taken, flying = lanes.bound_elsewhere(session, set(theirs.values())), lanes.in_flight(session, set(ours.values()))
    found: dict[str, Words] = {}
    for finding in wanted:
        lane, place = ours[finding.id], theirs[finding.id]
        record, binding = known.get((of.entity, lane[2])), bindings.get(lane)
        if place in taken:
            found[finding.id] = finding_reasons.theirs_bound(of.entity, taken[place])
        elif record is None or record.deleted:
            found[finding.id] = finding_reasons.DELETED
        elif binding is not None and binding.external_id is not None:
            found[finding.id] = finding_reasons.ours_bound(binding.external_id)
        elif lane in flying or (binding is not None and binding.state == queries.UNDER_WAY):
            found[finding.id] = finding_reasons.UNDER_WAY
        else:
            taken[place] = lane[2]
    return found


def settle(session: Session, of: Matching, page: Collection[str], now: dt.datetime) -> Mapping[str, int]:
    """Settle these findings of a run whose listing has been linked to its end; return counts.

    What is to be made may be made; what was left out, or undecided, or has gone from the target before it was linked,
    is not made until somebody has said which record it is there. What is in flight settles itself.
    """
    lock(session, [of.connection_id])
    counts: Counter[str] = Counter()
    held, free = [], []
    for finding in session.scalars(sa.select(Finding).where(Finding.id.in_(page)).order_by(Finding.id)):
        if finding.decision == "create":
            finding.state = "done"
            free.append(finding.local_id)
            counts["to_create"] += 1
            continue
        held.append(finding.local_id)
        if finding.decision != "link":
            finding.state, finding.decision = "skipped", "ignore"
            counts["left_out"] += 1
        elif finding.state == "decided":
            _tell(session, finding, finding_reasons.GONE)
            counts["not_linked"] += 1
    flying = {lane[2] for lane in lanes.in_flight(session, {_lane(of, id or "") for id in (*held, *free)})}
    _SETTLED.put(session, [_row(of, id or "", "conflict") for id in held if id not in flying])
    undecided = sa.and_(_BINDING.c.connection_id == of.connection_id, _BINDING.c.entity == of.entity,
                        _BINDING.c.local_id.in_([id for id in free if id not in flying]),
                        _BINDING.c.external_id.is_(None), _BINDING.c.state.in_(("conflict", "in_doubt")))
    session.execute(sa.update(_BINDING).where(undecided).values(state="unbound"))
    return counts


def release(session: Session, of: Matching, page: Collection[str], now: dt.datetime) -> None:
    """Let go these deliveries, which waited for the matching."""
    lock(session, [of.connection_id])
    session.execute(sa.update(Delivery).where(
        Delivery.id.in_(page), Delivery.state == "retry_wait",
        Delivery.error_class == failures.AWAITING_MATCH).values(due_at=now))


def _tell(session: Session, finding: Finding, obstacle: Words) -> None:
    """Say in a finding why it was not done."""
    finding.state = "skipped"
    detail = {**(finding.detail or {}), "reason": obstacle}
    finding.detail_sealed = sealed_detail(keyring_of(session), finding.id, detail)


def _lane(of: Matching, local_id: str) -> lanes.Lane:
    return of.connection_id, of.entity, local_id


def _row(of: Matching, local_id: str, state: str) -> dict[str, Any]:
    return {"connection_id": of.connection_id, "entity": of.entity, "local_id": local_id, "state": state,
            "create_key": create_key(_lane(of, local_id)), "acked_version": 0}
