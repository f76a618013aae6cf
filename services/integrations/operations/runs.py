"""Starting, leasing and recording runs: what a page led to and where the next one begins, in one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.context import Subject
from chassis.database import new_id
from contracts.errors import Conflict, InvalidTransition
from services.integrations.domain import failures
from services.integrations.domain.retry import Chance
from services.integrations.domain.runs import TO_CONFIRM, UNFINISHED
from services.integrations.models import Connection, Run
from services.integrations.operations import findings, health
from services.integrations.operations.claims import Lease
from services.integrations.operations.findings import Found
from services.integrations.operations.outcomes import Failed
from services.integrations.queries import due, runs
from services.integrations.queries.statements import built_once, table_of

log = telemetry.logger(__name__)

_RUN = table_of(Run)
BACK_OFF_S, RETRY_MOST_S = 5.0, 600.0
WAITS = (failures.TRANSIENT, failures.AMBIGUOUS, failures.RATE_LIMITED, failures.PACED, failures.AUTH, failures.GONE)
"""Failures of the target, not of the run: it waits until they are over, however long. Any other ends it after three."""

T = TypeVar("T")
Then = Literal["go_on", "wait", "ask", "done"]
Effect = Callable[[Session, dt.datetime], Mapping[str, int]]


class LeaseLost(Exception):
    """Another process works on this run now, or a person has cancelled it; nothing of the page was recorded."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a run begins."""

    total: int | None = None
    position: Mapping[str, Any] = field(default_factory=dict)
    phase: str | None = None


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A run that is ours to go on with, as it was when it was leased; `position` is where the next page begins.

    `since` is when it was leased, or its page before was recorded: what goes by from then on is work.
    """

    id: str
    connection_id: str
    entity: str
    kind: str
    phase: str | None
    filter: Mapping[str, Any]
    options: Mapping[str, Any]
    position: Mapping[str, Any]
    counts: Mapping[str, int]
    total: int | None
    created_by: str
    approved_by: str | None
    fence: int
    since: dt.datetime


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one page of a run has come to. All of it is recorded in one transaction, or none.

    Attributes:
        then: `go_on` with the next page, `wait` for `wait_s` before it, `ask` a person first, or be `done`.
        position: where the next page begins; None leaves it where it is.
        counts: what is added to the run's counts; `seen` are the records looked at.
        findings: what was found.
        effect: what else is written, once it is sure that the run is still ours; returns what that adds to the counts.
            It locks records before their connection, and the connection before all else.
        phase, total: from now on; None leaves them.
        error: what keeps it waiting, for people; None if nothing does that goes wrong.
    """

    then: Then = "go_on"
    position: Mapping[str, Any] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    findings: Sequence[Found] = ()
    effect: Effect | None = None
    phase: str | None = None
    total: int | None = None
    wait_s: float = 0.0
    error: str | None = None


def create(session: Session, connection: Connection, asked: Mapping[str, Any], plan: Plan, now: dt.datetime, *,
           by: str) -> Run:
    """Add a run, due now.

    Raises:
        Conflict: one of its kind is unfinished; `run` says which.
    """
    kind, entity = asked["kind"], asked["entity"]
    unfinished = runs.unfinished(session, connection.id, entity, kind)
    if unfinished is not None:
        raise Conflict(f"A run of this kind over {entity} is under way: wait for it, or cancel it", run=unfinished)
    run = Run(id=new_id(), connection_id=connection.id, entity=entity, kind=kind, phase=plan.phase,
              filter=dict(asked["filter"]), options=dict(asked["options"]), position=dict(plan.position), counts={},
              total=plan.total, reason=asked["reason"], created_by=by, due_at=now, created_at=now)
    # The newest of a kind decides when the next begins.
    session.execute(sa.update(Run).where(Run.connection_id == connection.id, Run.entity == entity, Run.kind == kind,
                                         Run.next_run_at.is_not(None)).values(next_run_at=None))
    session.add(run)
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(f"A run of this kind over {entity} was started just now") from error
    log.info("run_started", run_id=run.id, kind=kind, entity=entity, connection_id=connection.id, by=by)
    return run


# --- a worker's turn ----------------------------------------------------------------------------------------------


def any_due(session: Session, now: dt.datetime) -> bool:
    """Tell whether a run is due; asked every second, so it takes no lock."""
    return session.execute(*_due(now, 1, locked=False)).first() is not None


_due = built_once(due.runs_due)


def claim(session: Session, limit: int, lease: Lease, now: dt.datetime) -> list[Taken]:
    """Lease up to `limit` runs that are due."""
    rows = session.execute(*_leasing(now, limit, lease.owner, lease.until)).all()
    return [_taken(row, now) for row in rows]


@built_once
def _leasing(now: dt.datetime, limit: int, owner: str, until: dt.datetime) -> sa.Executable:
    picked = due.runs_due(now, limit).cte("picked")
    return (sa.update(_RUN).where(_RUN.c.id.in_(sa.select(picked.c.id)))
            .values(state="running", lease_owner=owner, lease_until=until, fence=_RUN.c.fence + 1,
                    started_at=sa.func.coalesce(_RUN.c.started_at, now))
            .returning(*_RUN.c))


def record(session: Session, taken: Taken, step: Step, now: dt.datetime, lease_until: dt.datetime) -> Taken | None:
    """Record what a page led to; return the run to go on with, or None if it is let go.

    Raises:
        LeaseLost: nothing is recorded.
    """
    run = _held(session, taken)
    added = dict(step.effect(session, now)) if step.effect else {}
    to_confirm = findings.add(session, run.id, step.findings, now)
    run.counts = _sum(_sum(_sum(run.counts, step.counts), added), {TO_CONFIRM: to_confirm} if to_confirm else {})
    run.position = dict(step.position) if step.position is not None else run.position
    run.phase = step.phase if step.phase is not None else run.phase
    if run.total is not None and run.worked_s is not None:
        run.worked_s += (now - taken.since).total_seconds() + step.wait_s
    run.total = step.total if step.total is not None else run.total
    run.failures, run.error = 0, step.error and step.error[:1000]
    run.due_at, run.lease_until = now + dt.timedelta(seconds=step.wait_s), lease_until
    if step.then == "done":
        _end(run, "completed", now)
    elif step.then == "ask":
        run.state = "awaiting_approval"
        run.version += 1
    if step.then != "go_on":
        run.lease_owner = run.lease_until = None
    session.flush()
    return _taken(run, now) if step.then == "go_on" else None


def let_go(session: Session, taken: Taken) -> None:
    """End our lease; any process may go on with the run at once."""
    run = _held(session, taken)
    run.lease_owner = run.lease_until = None


def fail(session: Session, taken: Taken, failed: Failed, now: dt.datetime, chance: Chance, *,
         of_target: bool = True) -> None:
    """Record that a page failed, and try it again later; one that repeating does not heal ends the run.

    Args:
        of_target: whether a call to the target failed: that tells of the connection's health too.
    """
    run = _held(session, taken)
    run.failures += 1
    run.error = failed.text[:1000]
    run.lease_owner = run.lease_until = None
    verdict = failures.decide(failed.kind, run.failures, chance, retry_after_s=failed.retry_after_s)
    if failed.kind not in WAITS and run.failures >= failures.FEW_TRIES:
        _end(run, "failed", now)
    wait_s = max(min(BACK_OFF_S * 2 ** min(run.failures - 1, 10), RETRY_MOST_S), verdict.throttle_s or 0.0)
    run.due_at = now + dt.timedelta(seconds=wait_s)
    session.flush()
    if of_target:
        health.observe(session, [health.Seen(
            connection_id=run.connection_id, kind=failed.kind, message=failed.message, pause=verdict.pause,
            answered=failed.http_status is not None, throttle_s=verdict.throttle_s)], now)


def give_up(session: Session, taken: Taken, reason: str, now: dt.datetime) -> None:
    """End a run that cannot go on."""
    run = _held(session, taken)
    run.error = reason[:1000]
    _end(run, "failed", now)


def held_until(session: Session, taken: Taken) -> dt.datetime:
    """Return until when a run is ours; asked before each call to its target, so it takes no lock.

    Raises:
        LeaseLost: it is not, and nothing of it is to be called any more.
    """
    until: dt.datetime | None = session.scalar(_ours(sa.select(Run.lease_until), taken))
    if until is None:
        raise LeaseLost(taken.id)
    return until


def hold(session: Session, taken: Taken, until: dt.datetime) -> None:
    """Extend our lease.

    Raises:
        LeaseLost: it is not ours any more.
    """
    _held(session, taken).lease_until = until


def _held(session: Session, taken: Taken) -> Run:
    run = session.scalar(_ours(sa.select(Run), taken).with_for_update())
    if run is None:
        raise LeaseLost(taken.id)
    return run


def _ours(asked: sa.Select[T], taken: Taken) -> sa.Select[T]:
    return asked.where(Run.id == taken.id, Run.fence == taken.fence, Run.state == "running")


def _end(run: Run, state: str, now: dt.datetime) -> None:
    run.state, run.ended_at, run.lease_owner, run.lease_until = state, now, None, None
    run.next_run_at = None if state == "cancelled" else later(run, now)
    run.version += 1
    log.info("run_ended", run_id=run.id, kind=run.kind, entity=run.entity, connection_id=run.connection_id,
             state=state, counts=run.counts, error=run.error)


def later(run: Run, now: dt.datetime) -> dt.datetime | None:
    """Return when the next run like one begins that is over now; None if it was not to be repeated."""
    every_h: int = run.options.get("every_h") or 0
    return now + dt.timedelta(hours=every_h) if every_h else None


def _taken(row: Any, now: dt.datetime) -> Taken:
    return Taken(since=now, **{name: getattr(row, name) for name in Taken.__dataclass_fields__ if name != "since"})


def _sum(counts: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: counts.get(name, 0) + more.get(name, 0) for name in sorted({*counts, *more})}


# --- what people say ----------------------------------------------------------------------------------------------


def approve(session: Session, request: Mapping[str, Any], now: dt.datetime, *, by: Subject) -> Run:
    """Have a run go on that awaits approval.

    Raises:
        NotFound: there is none, or it is out of reach.
        InvalidTransition: it awaits none.
        Conflict: another number was confirmed than it would do; `to_confirm` says how many.
    """
    run = runs.get(session, request["id"], by, "operate", locked=True)
    if run.state != "awaiting_approval":
        raise InvalidTransition(f"Only a run that awaits approval is approved; this one is {run.state}",
                                state=run.state)
    asked = run.counts.get(TO_CONFIRM, 0)
    if request["count"] != asked:
        raise Conflict(f"The run would do {asked}, not {request['count']}: look again", to_confirm=asked)
    run.state, run.approved_by, run.due_at = "running", by.id, now
    run.version += 1
    session.flush()
    log.info("run_approved", run_id=run.id, kind=run.kind, count=asked, by=by.id)
    return run


def cancel(session: Session, request: Mapping[str, Any], now: dt.datetime, *, by: Subject) -> Run:
    """End a run where it is. A page in hand is not recorded; what earlier pages did stays.

    Raises:
        NotFound: there is none, or it is out of reach.
        InvalidTransition: it has ended.
    """
    run = runs.get(session, request["id"], by, "operate", locked=True)
    if run.state not in UNFINISHED:
        raise InvalidTransition(f"The run is {run.state}", state=run.state)
    _end(run, "cancelled", now)
    session.flush()
    return run
