"""Settling calls: what came back becomes the state of delivery, attempt, binding and connection, in one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.crypto import Keyring
from chassis.sealed import keyring_of
from services.integrations.domain import failures
from services.integrations.domain.bindings import create_key
from services.integrations.domain.deliveries import TERMINAL
from services.integrations.domain.retry import Chance
from services.integrations.models import Attempt, Binding, Connection
from services.integrations.models.attempt import sealed_preview
from services.integrations.operations import (
    announcements,
    claims,
    conflicts,
    dependents,
    disputes,
    health,
    inbound,
    measures,
    snapshots,
)
from services.integrations.operations.announcements import Settled
from services.integrations.operations.bulk import Upsert, excluded, update_each
from services.integrations.operations.health import Seen
from services.integrations.operations.inbound import News, Written
from services.integrations.operations.leases import write_back
from services.integrations.operations.outcomes import Failed, Outcome, Plan, planned
from services.integrations.queries import lanes
from services.integrations.queries.statements import table_of

_ATTEMPT, _BINDING = table_of(Attempt), table_of(Binding)
_NEWER = excluded(_BINDING.c.acked_version) > _BINDING.c.acked_version
_BINDING_NAMED = Upsert(_BINDING, changing={
    **{name: excluded(_BINDING.c[name]) for name in ("external_id", "state", "remote_version", "last_verified_at")},
    "acked_version": sa.case((_NEWER, excluded(_BINDING.c.acked_version)), else_=_BINDING.c.acked_version),
    "base_snapshot": excluded(_BINDING.c.base_snapshot)})


def settle(session: Session, outcomes: Sequence[Outcome], now: dt.datetime, chance: Chance, proof_s: float) -> set[str]:
    """Write back what became of each job; return the connections that may have more to do at once.

    A job whose lease another process has taken over changes nothing: that process will find out what we did.
    """
    if not outcomes:
        return set()
    taken = _taken_by_others(session, outcomes)
    plans = [planned(taken.get(o.job.delivery_id, o), now, chance, proof_s) for o in outcomes]
    held = write_back(session, [plan.move for plan in plans], now)
    plans = [plan for plan in plans if plan.move.id in held]
    _close_attempts(session, plans)
    _bind(session, plans)
    _remember_writes(session, plans, now)
    woken = _make_anew(session, dict(plan.stale for plan in plans if plan.stale), now)
    conflicts.lost(session, dict(plan.lost for plan in plans if plan.lost), now)
    woken |= dependents.release(session, [plan.move.lane for plan in plans if plan.binding.get("external_id")], now)
    dead = {plan.move.lane: plan.move.error or "" for plan in plans if plan.move.after == "dead"}
    ended = dependents.end(session, dead, now)
    for plan in plans:
        conflicts.ended(session, plan.outcome.job, plan.move, now)
    unresolved = {p.move.lane[0] for p in plans if p.move.after == "in_doubt" and p.move.probes}
    health.observe(session, [*map(_seen, plans), *health.doubts(session, unresolved)], now)
    for plan in plans:
        _tell_deferred(session, plan)
    announcements.deliveries_settled(session, [_settled(p) for p in plans if p.move.after in TERMINAL] + ended)
    return woken | {plan.outcome.job.connection_id for plan in plans}


def _taken_by_others(session: Session, outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
    """Turn a success into a failure where the target named a record that is bound to another one of ours.

    What was looked for, to be taken back or gone on with, and is another's is not there: nothing of ours is.
    """
    keys = {(o.job.connection_id, o.job.entity, o.external_id): o.job.local_id
            for o in outcomes if o.external_id and (o.found or o.job.action != "delete")}
    bound = lanes.bound_elsewhere(session, list(keys))
    refused = {}
    for o in outcomes:
        key = (o.job.connection_id, o.job.entity, o.external_id or "")
        other = bound.get(key, keys.get(key, o.job.local_id))
        if not o.external_id or other == o.job.local_id:
            continue
        looked = o.job.action == "write" and o.found is not None
        nothing = replace(o, external_id=None, remote_version=None, found="absent" if looked else None)
        if looked or o.job.action == "delete":
            refused[o.job.delivery_id] = nothing
        else:
            message = (f"the target answered with its record {o.external_id}, "
                       f"which belongs to our {o.job.entity} {other}")
            refused[o.job.delivery_id] = replace(nothing, failed=Failed(kind=failures.INVALID, message=message))
    return refused


def _close_attempts(session: Session, plans: Sequence[Plan]) -> None:
    update_each(session, _ATTEMPT, [_closed(session, plan) for plan in plans], match=("delivery_id", "n"))


def _closed(session: Session, plan: Plan) -> dict[str, Any]:
    o, failed = plan.outcome, plan.outcome.failed
    place = o.job.delivery_id, o.job.fence
    return {
        "delivery_id": o.job.delivery_id, "n": o.job.fence, "ended_at": o.ended_at,
        "outcome": o.found or ("succeeded" if failed is None else "failed"),
        "error_class": failed.kind if failed else None, "http_status": (failed and failed.http_status) or o.http_status,
        "retry_after_s": failed.retry_after_s if failed else None,
        "duration_ms": round(o.took_s * 1000),
        "request_preview_sealed": sealed_preview(session, "request_preview", *place, o.request_preview),
        "response_preview_sealed": sealed_preview(session, "response_preview", *place, o.response_preview),
        "trace_id": o.trace_id,
    }


def _bind(session: Session, plans: Sequence[Plan]) -> None:
    """Write bindings: those that now name a record, then those that no longer do."""
    keyring = keyring_of(session)
    named = [plan for plan in plans if plan.binding.get("external_id")]
    _BINDING_NAMED.put(session, [_binding_row(keyring, plan) for plan in named if plan.outcome.found is None])
    update_each(session, _BINDING, [_lane_row(plan) | plan.binding for plan in named if plan.outcome.found is not None],
                match=("local_id", "entity", "connection_id"))  # adopted: what we had sent stays their and our base
    for forgetting in (True, False):
        rows = [_lane_row(plan) | {"state": plan.binding["state"]} | ({"external_id": None} if forgetting else {})
                for plan in plans if plan.binding and not plan.binding.get("external_id")
                and ("external_id" in plan.binding) == forgetting]
        update_each(session, _BINDING, rows, match=("local_id", "entity", "connection_id"))


def _remember_writes(session: Session, plans: Sequence[Plan], now: dt.datetime) -> None:
    """Remember what now stands at targets that report changes, and tell what was found there on the way."""
    written = []
    for plan in plans:
        o, job = plan.outcome, plan.outcome.job
        external_id = o.external_id or job.external_id
        if not job.pulled or plan.move.after != "delivered" or external_id is None:
            continue
        place = (job.connection_id, job.entity, external_id)
        if o.met is not None and o.met.kept:
            found = News(external_id=external_id, version=o.met.version, record=o.met.body)
            inbound.tell_again(session, place, found, list(o.met.kept), job.local_id, now)
        if o.met is not None and o.met.disputed:
            disputes.changed_on_both_sides(session, place, job.local_id, o.met.disputed, now)
        if job.action == "delete":
            written.append(Written(place=place, version=inbound.GONE))
        # Of what was adopted and not merged nobody knows whose it is: the next reading tells it as it stands.
        if o.remote_version is not None and (not job.adopted or o.met is not None):
            written.append(Written(place=place, version=o.remote_version, body=o.body))
        elif job.action == "write" and (external_id != job.external_id or job.adopted):
            # It is not as we wanted it, and what was told of it before it was bound named none of ours.
            inbound.tell_seen(session, place, job.local_id, now)
    inbound.wrote(session, written, now)


def _make_anew(session: Session, stale: Mapping[lanes.Lane, str], now: dt.datetime) -> set[str]:
    """Forget what these records were at the target, and export each again; return the connections concerned."""
    update_each(session, _BINDING, [
        {"connection_id": connection_id, "entity": entity, "local_id": id, "was_external_id": sent, "external_id": None,
         "state": "unbound"} for (connection_id, entity, id), sent in stale.items()],
        match=("local_id", "entity", "connection_id"))
    return claims.export(session, stale, now)


def _lane_row(plan: Plan) -> dict[str, Any]:
    job = plan.outcome.job
    return {"connection_id": job.connection_id, "entity": job.entity, "local_id": job.local_id}


def _binding_row(keyring: Keyring, plan: Plan) -> dict[str, Any]:
    empty = {"acked_version": 0, "create_key": create_key(plan.move.lane)}
    base = snapshots.seal(keyring, "base", plan.move.lane, plan.outcome.body if plan.outcome.job.pulled else None)
    return empty | _lane_row(plan) | plan.binding | {"base_snapshot": base}


def _seen(plan: Plan) -> Seen:
    failed, verdict = plan.outcome.failed, plan.verdict
    job = plan.outcome.job
    return Seen(connection_id=job.connection_id, kind=failed.kind if failed else None,
                message=failed.text if failed else "", answered=failed is None or failed.http_status is not None,
                record=None if plan.outcome.found is not None else f"{job.entity}/{job.local_id}",
                throttle_s=verdict.throttle_s if verdict else None, pause=verdict.pause if verdict else None)


def _tell_deferred(session: Session, plan: Plan) -> None:
    job, move = plan.outcome.job, plan.move
    if move.after not in TERMINAL:
        measures.deferred(session, session.get_one(Connection, job.connection_id).name, job.delivery_id, move.after,
                          entity=job.entity, local_id=job.local_id, error_class=move.error_class,
                          attempts=move.attempts, **telemetry.ids_of(plan.outcome.span or job.traceparent or ""))


def _settled(plan: Plan) -> Settled:
    job, move = plan.outcome.job, plan.move
    return Settled(id=job.delivery_id, lane=job.lane, version=job.version, state=move.after,
                   external_id=plan.outcome.external_id or job.external_id, error_class=move.error_class,
                   error=move.error, traceparent=plan.outcome.span or job.traceparent or "",
                   accepted_at=job.accepted_at)
