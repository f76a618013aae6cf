"""Settling calls: what came back becomes the state of delivery, attempt, binding and connection, in one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.crypto import Keyring
from chassis.sealed import keyring_of
from services.integrations.domain import failures, retry
from services.integrations.domain.bindings import create_key
from services.integrations.domain.deliveries import TERMINAL, State
from services.integrations.domain.failures import Doubt, Verdict
from services.integrations.domain.retry import Chance, probe_s
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
from services.integrations.operations.jobs import Job
from services.integrations.operations.leases import Move, write_back
from services.integrations.queries import lanes
from services.integrations.queries.statements import table_of
from services.integrations.routing import ACCOUNT

_ATTEMPT, _BINDING = table_of(Attempt), table_of(Binding)
_NEWER = excluded(_BINDING.c.acked_version) > _BINDING.c.acked_version
_BINDING_NAMED = Upsert(_BINDING, changing={
    **{name: excluded(_BINDING.c[name]) for name in ("external_id", "state", "remote_version", "last_verified_at")},
    "acked_version": sa.case((_NEWER, excluded(_BINDING.c.acked_version)), else_=_BINDING.c.acked_version),
    "base_snapshot": excluded(_BINDING.c.base_snapshot)})


@dataclass(frozen=True, kw_only=True)
class Failed:
    """Why a call failed: its class, and a sentence for a person."""

    kind: str
    message: str
    field: str | None = None
    retry_after_s: float | None = None
    http_status: int | None = None

    @property
    def text(self) -> str:
        """The message, with the field that was refused."""
        return f"{self.field}: {self.message}" if self.field else self.message


@dataclass(frozen=True, kw_only=True)
class Met:
    """What a write met at the target: which of its fields it kept, and which of those a person decides."""

    version: str
    body: Mapping[str, Any]
    kept: tuple[str, ...]
    disputed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one job.

    Attributes:
        failed: None if the call succeeded.
        external_id, remote_version: of the record at the target after a write, or as a look-up found it.
        body: the record as it stands there after a write, in the target's own fields, if the adapter says.
        met: what else stood there and has been merged into the write; `kept` names the fields that are theirs.
        found: what a look-up said; None if this was no look-up.
        can_find, honours_key: what the target's adapter is able to.
        span: traceparent of the call, if it was traced.
    """

    job: Job
    started_at: dt.datetime
    ended_at: dt.datetime
    failed: Failed | None = None
    external_id: str | None = None
    remote_version: str | None = None
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    met: Met | None = field(default=None, repr=False)
    found: failures.Answer | None = None
    can_find: bool = False
    honours_key: bool = False
    http_status: int | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    trace_id: str | None = None
    span: str | None = None


@dataclass
class _Plan:
    """What one outcome asks of every table.

    `stale` is a record, with its id there, that the target has lost; `lost` one of which a person is to be asked.
    """

    outcome: Outcome
    move: Move
    verdict: Verdict | None = None
    stale: tuple[lanes.Lane, str] | None = None
    lost: tuple[lanes.Lane, str] | None = None
    binding: dict[str, Any] = field(default_factory=dict)


def settle(session: Session, outcomes: Sequence[Outcome], now: dt.datetime, chance: Chance, proof_s: float) -> set[str]:
    """Write back what became of each job; return the connections that may have more to do at once.

    A job whose lease another process has taken over changes nothing: that process will find out what we did.
    """
    if not outcomes:
        return set()
    taken = _taken_by_others(session, outcomes)
    plans = [_plan(taken.get(o.job.delivery_id, o), now, chance, proof_s) for o in outcomes]
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


# --- one outcome --------------------------------------------------------------------------------------------------


def _plan(outcome: Outcome, now: dt.datetime, chance: Chance, proof_s: float) -> _Plan:
    if outcome.found is not None:
        return _after_look(outcome, now, chance, proof_s)
    gone = outcome.job.action == "delete" and outcome.failed is not None and outcome.failed.kind == failures.NOT_FOUND
    if outcome.failed is None or gone:
        return _delivered(outcome, now)
    return _after_failure(outcome, outcome.failed, now, chance)


def _move(outcome: Outcome, after: Any, due_at: dt.datetime, **changes: Any) -> Move:
    job = outcome.job
    given: dict[str, Any] = {"attempts": job.attempts, "deferrals": job.deferrals, "deadline_at": job.deadline_at,
                             "last_call": outcome.span or job.last_call}
    return Move(id=job.delivery_id, lane=job.lane, op=job.op, fence=job.fence, after=after, due_at=due_at,
                before="in_doubt" if job.action == "find" else "leased", **(given | changes))


def _delivered(outcome: Outcome, now: dt.datetime) -> _Plan:
    job = outcome.job
    plan = _Plan(outcome, _move(outcome, "delivered", now))
    stays = job.tombstone and outcome.failed is None and job.external_id is not None
    if job.action == "delete" and not stays:
        plan.binding = {"state": "unbound", "external_id": None}
    else:
        plan.binding = {"state": "tombstoned" if stays else "bound", "external_id": outcome.external_id,
                        "acked_version": job.version, "remote_version": outcome.remote_version,
                        "last_verified_at": now}
    return plan


def _after_failure(outcome: Outcome, failed: Failed, now: dt.datetime, chance: Chance) -> _Plan:
    job = outcome.job
    verdict = failures.decide(failed.kind, job.attempts + 1, chance, retry_after_s=failed.retry_after_s)
    counted = {"attempts": job.attempts + 1} if verdict.uses_attempt else {"deferrals": job.deferrals + 1}
    due_at = now + dt.timedelta(seconds=verdict.wait_s or 0.0)
    move = _move(outcome, verdict.state, due_at, error_class=failed.kind, error=failed.text, **counted)
    plan = _Plan(outcome, move, verdict)
    if failed.kind == failures.ALREADY_EXISTS and job.external_id is not None:
        move.after = "dead"
        move.error = f"{failed.text}; ours stands there as {job.external_id}, and may not have what another one has"
    elif verdict.state == "in_doubt":
        move.doubt_since = outcome.ended_at
        plan.binding = {} if job.external_id else {"state": "in_doubt"}
        if not (outcome.can_find or outcome.honours_key or job.external_id):
            move.after, move.error_class = "dead", failures.UNRESOLVABLE
            move.error = f"{failed.text}; the target can neither be asked nor told twice: a person has to look there"
    elif verdict.state == "blocked":
        _block_on_reference(plan, now)
    # Without their id it stays `creating`: what was begun may have left something, and nobody has looked yet.
    if verdict.unbind and job.external_id is not None and job.entity in job.asking:
        move.after = "dead"
    elif verdict.unbind and job.external_id is not None:
        plan.binding = {"state": "unbound", "external_id": None}
    return plan


def _block_on_reference(plan: _Plan, now: dt.datetime) -> None:
    """Wait for what the target misses, until the first deadline and no longer.

    Was its id sent, the target has lost that record: it is made anew, and this counts as an attempt, so that a target
    that loses it each time is not told for ever. An entity that the signpost does not know of cannot be waited for.
    """
    move, job = plan.move, plan.outcome.job
    needed = [need for need in job.needs if need[0] != ACCOUNT]
    if not needed:
        move.after = "dead"
        return
    entity, id = needed[0]
    move.blocked_on = needed[0]
    move.deadline_at = job.deadline_at or now + dt.timedelta(seconds=retry.WINDOW_S)
    sent = job.references.get(entity)
    if sent is not None and entity in job.asking:
        plan.lost = (job.connection_id, entity, id), sent
        move.error = f"{move.error}; {entity} {id}, which was {sent} there, has gone: a person decides its conflict"
    elif sent is not None:
        plan.stale = (job.connection_id, entity, id), sent
        move.attempts, move.deferrals = job.attempts + 1, job.deferrals
        move.error = f"{move.error}; {entity} {id}, which was {sent} there, is made anew"
    if move.deadline_at <= now or move.attempts >= retry.MAX_ATTEMPTS:
        move.after, move.blocked_on, plan.stale = "dead", None, None


def _after_look(outcome: Outcome, now: dt.datetime, chance: Chance, proof_s: float) -> _Plan:
    job, failed = outcome.job, outcome.failed
    since = (outcome.started_at - (job.doubt_since or outcome.started_at)).total_seconds()
    probes = job.probes + (failed is None or failed.kind != failures.PACED)  # else nobody has been asked
    doubt = Doubt(since, probes, outcome.can_find, outcome.honours_key)
    step = failures.resolve(doubt, outcome.found or "unanswered", proof_s)
    if job.action == "write" and outcome.found == "absent":
        step = "resend"  # the call before was refused or failed, and nothing of it is on its way any more
    if step == "resend" and job.doubted_as == failures.ALREADY_EXISTS:
        return _unseen(outcome, now, chance)
    if step in ("adopt", "resend") and job.attempts >= retry.MAX_ATTEMPTS:
        given_up = f"no clear answer after {job.attempts} attempts: a person has to look at the target"
        return _Plan(outcome, _move(outcome, "dead", now, error_class=failures.AMBIGUOUS, error=given_up))
    verdict = failures.decide(failed.kind, job.attempts, chance, retry_after_s=failed.retry_after_s) if failed else None
    wait = probe_s(probes, chance)
    if step == "look_again" and wait is not None:
        if outcome.found == "absent":
            wait = min(wait, failures.proof_in_s(doubt, proof_s))  # it is there, or the next look proves that it is not
        if verdict is not None and verdict.throttle_s:
            wait = max(wait, verdict.throttle_s)
        move = _move(outcome, "in_doubt", now + dt.timedelta(seconds=wait), probes=probes,
                     doubt_since=job.doubt_since, error_class=job.doubted_as or failures.AMBIGUOUS,
                     error=f"the last look-up failed: {failed.text}" if failed else "looking whether it arrived")
        return _Plan(outcome, move, verdict)
    if step == "adopt" and job.pulled and job.external_id is not None:
        # Somebody there may have changed it too: the write, conditional on what we knew, finds out and merges.
        return _Plan(outcome, _move(outcome, "pending", now))
    if step == "adopt":
        # Found is not yet complete: a draft may have been left half-way. Bound to it, the write does what is missing.
        return _Plan(outcome, _move(outcome, "pending", now), binding={
            "state": "bound", "external_id": outcome.external_id, "remote_version": outcome.remote_version,
            "last_verified_at": now})
    if step == "resend":
        gone = {"state": "unbound", "external_id": None}
        return _Plan(outcome, _move(outcome, "pending", now), binding=gone if job.op != "append" else {})
    # It stays in doubt for its later versions too: where they could only make it once more, they wait for a person.
    given_up = "whether it arrived could not be found out: a person has to look at the target"
    return _Plan(outcome, _move(outcome, "dead", now, error_class=failures.UNRESOLVABLE, error=given_up),
                 binding={} if job.external_id else {"state": "in_doubt"})


def _unseen(outcome: Outcome, now: dt.datetime, chance: Chance) -> _Plan:
    """Try again by the schedule what the target will not make because it has it, although a look does not find it."""
    wait_s = retry.wait_s(outcome.job.attempts, chance)
    told = "the target says that it has such a record, and a look does not find it"
    after: State = "dead" if wait_s is None else "pending"
    return _Plan(outcome, _move(outcome, after, now + dt.timedelta(seconds=wait_s or 0.0), error=told,
                                error_class=failures.ALREADY_EXISTS),
                 binding={"state": "unbound", "external_id": None} if outcome.job.op != "append" else {})


# --- the tables around it -----------------------------------------------------------------------------------------


def _close_attempts(session: Session, plans: Sequence[_Plan]) -> None:
    update_each(session, _ATTEMPT, [_closed(session, plan) for plan in plans], match=("delivery_id", "n"))


def _closed(session: Session, plan: _Plan) -> dict[str, Any]:
    o, failed = plan.outcome, plan.outcome.failed
    place = o.job.delivery_id, o.job.fence
    return {
        "delivery_id": o.job.delivery_id, "n": o.job.fence, "ended_at": o.ended_at,
        "outcome": o.found or ("succeeded" if failed is None else "failed"),
        "error_class": failed.kind if failed else None, "http_status": (failed and failed.http_status) or o.http_status,
        "retry_after_s": failed.retry_after_s if failed else None,
        "duration_ms": round((o.ended_at - o.started_at).total_seconds() * 1000),
        "request_preview_sealed": sealed_preview(session, "request_preview", *place, o.request_preview),
        "response_preview_sealed": sealed_preview(session, "response_preview", *place, o.response_preview),
        "trace_id": o.trace_id,
    }


def _bind(session: Session, plans: Sequence[_Plan]) -> None:
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


def _remember_writes(session: Session, plans: Sequence[_Plan], now: dt.datetime) -> None:
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


def _lane_row(plan: _Plan) -> dict[str, Any]:
    job = plan.outcome.job
    return {"connection_id": job.connection_id, "entity": job.entity, "local_id": job.local_id}


def _binding_row(keyring: Keyring, plan: _Plan) -> dict[str, Any]:
    empty = {"acked_version": 0, "create_key": create_key(plan.move.lane)}
    base = snapshots.seal(keyring, "base", plan.move.lane, plan.outcome.body if plan.outcome.job.pulled else None)
    return empty | _lane_row(plan) | plan.binding | {"base_snapshot": base}


def _seen(plan: _Plan) -> Seen:
    failed, verdict = plan.outcome.failed, plan.verdict
    job = plan.outcome.job
    return Seen(connection_id=job.connection_id, kind=failed.kind if failed else None,
                message=failed.text if failed else "", answered=failed is None or failed.http_status is not None,
                record=None if plan.outcome.found is not None else f"{job.entity}/{job.local_id}",
                throttle_s=verdict.throttle_s if verdict else None, pause=verdict.pause if verdict else None)


def _tell_deferred(session: Session, plan: _Plan) -> None:
    job, move = plan.outcome.job, plan.move
    if move.after not in TERMINAL:
        measures.deferred(session, session.get_one(Connection, job.connection_id).name, job.delivery_id, move.after,
                          entity=job.entity, local_id=job.local_id, error_class=move.error_class,
                          attempts=move.attempts, **telemetry.ids_of(plan.outcome.span or job.traceparent or ""))


def _settled(plan: _Plan) -> Settled:
    job, move = plan.outcome.job, plan.move
    return Settled(id=job.delivery_id, lane=job.lane, version=job.version, state=move.after,
                   external_id=plan.outcome.external_id or job.external_id, error_class=move.error_class,
                   error=move.error, traceparent=plan.outcome.span or job.traceparent or "",
                   accepted_at=job.accepted_at)
