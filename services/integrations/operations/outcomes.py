"""Outcomes: what came back from a call, and what follows from it for the delivery and the binding."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.integrations.domain import failures, retry
from services.integrations.domain.deliveries import State
from services.integrations.domain.failures import Doubt, Verdict
from services.integrations.domain.retry import Chance, probe_s
from services.integrations.operations.jobs import Job
from services.integrations.operations.leases import Move
from services.integrations.queries import lanes
from services.integrations.routing import ACCOUNT


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

    @property
    def took_s(self) -> float:
        """How long the call took."""
        return (self.ended_at - self.started_at).total_seconds()


@dataclass
class Plan:
    """What one outcome asks of every table.

    `stale` is a record, with its id there, that the target has lost; `lost` one of which a person is to be asked.
    """

    outcome: Outcome
    move: Move
    verdict: Verdict | None = None
    stale: tuple[lanes.Lane, str] | None = None
    lost: tuple[lanes.Lane, str] | None = None
    binding: dict[str, Any] = field(default_factory=dict)


def planned(outcome: Outcome, now: dt.datetime, chance: Chance, proof_s: float) -> Plan:
    """Return what follows from an outcome.

    Args:
        outcome: what came back.
        now: when it is settled.
        chance: spreads what waits.
        proof_s: seconds after a lost call from which a look that finds nothing is believed.
    """
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


def _delivered(outcome: Outcome, now: dt.datetime) -> Plan:
    job = outcome.job
    plan = Plan(outcome, _move(outcome, "delivered", now))
    stays = job.tombstone and outcome.failed is None and job.external_id is not None
    if job.action == "delete" and not stays:
        plan.binding = {"state": "unbound", "external_id": None}
    else:
        plan.binding = {"state": "tombstoned" if stays else "bound", "external_id": outcome.external_id,
                        "acked_version": job.version, "remote_version": outcome.remote_version,
                        "last_verified_at": now}
    return plan


def _after_failure(outcome: Outcome, failed: Failed, now: dt.datetime, chance: Chance) -> Plan:
    job = outcome.job
    verdict = failures.decide(failed.kind, job.attempts + 1, chance, retry_after_s=failed.retry_after_s)
    counted = {"attempts": job.attempts + 1} if verdict.uses_attempt else {"deferrals": job.deferrals + 1}
    due_at = now + dt.timedelta(seconds=verdict.wait_s or 0.0)
    move = _move(outcome, verdict.state, due_at, error_class=failed.kind, error=failed.text, **counted)
    plan = Plan(outcome, move, verdict)
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


def _block_on_reference(plan: Plan, now: dt.datetime) -> None:
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


def _after_look(outcome: Outcome, now: dt.datetime, chance: Chance, proof_s: float) -> Plan:
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
        return Plan(outcome, _move(outcome, "dead", now, error_class=failures.AMBIGUOUS, error=given_up))
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
        return Plan(outcome, move, verdict)
    if step == "adopt" and job.pulled and job.external_id is not None:
        # Somebody there may have changed it too: the write, conditional on what we knew, finds out and merges.
        return Plan(outcome, _move(outcome, "pending", now))
    if step == "adopt":
        # Found is not yet complete: a draft may have been left half-way. Bound to it, the write does what is missing.
        return Plan(outcome, _move(outcome, "pending", now), binding={
            "state": "bound", "external_id": outcome.external_id, "remote_version": outcome.remote_version,
            "last_verified_at": now})
    if step == "resend":
        gone = {"state": "unbound", "external_id": None}
        return Plan(outcome, _move(outcome, "pending", now), binding=gone if job.op != "append" else {})
    # It stays in doubt for its later versions too: where they could only make it once more, they wait for a person.
    given_up = "whether it arrived could not be found out: a person has to look at the target"
    return Plan(outcome, _move(outcome, "dead", now, error_class=failures.UNRESOLVABLE, error=given_up),
                 binding={} if job.external_id else {"state": "in_doubt"})


def _unseen(outcome: Outcome, now: dt.datetime, chance: Chance) -> Plan:
    """Try again by the schedule what the target will not make because it has it, although a look does not find it."""
    wait_s = retry.wait_s(outcome.job.attempts, chance)
    told = "the target says that it has such a record, and a look does not find it"
    after: State = "dead" if wait_s is None else "pending"
    return Plan(outcome, _move(outcome, after, now + dt.timedelta(seconds=wait_s or 0.0), error=told,
                                error_class=failures.ALREADY_EXISTS),
                 binding={"state": "unbound", "external_id": None} if outcome.job.op != "append" else {})
