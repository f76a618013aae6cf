"""Taking due deliveries: lease them, see what each needs, and open an attempt for each call, before a byte leaves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.crypto import Keyring
from chassis.database import new_id
from chassis.sealed import keyring_of
from hub_adapter.port import AdapterSpec
from services.integrations.adapters import registry
from services.integrations.domain import failures, retry
from services.integrations.domain.deliveries import DECIDED, TERMINAL, is_stale
from services.integrations.domain.gates import barring
from services.integrations.domain.mapping import Unmappable
from services.integrations.domain.merging import Owner
from services.integrations.models import Attempt, Binding, Connection, Delivery, Route
from services.integrations.operations import (
    announcements,
    dependents,
    disputes,
    filters,
    intake,
    payloads,
    records,
    snapshots,
)
from services.integrations.operations.bodies import InForce, in_force
from services.integrations.operations.bulk import Upsert, excluded
from services.integrations.operations.leases import Move, write_back
from services.integrations.queries import lanes
from services.integrations.queries.statements import built_once, table_of
from services.integrations.routing import ACCOUNT, dependencies

_ATTEMPT, _BINDING, _DELIVERY, _ROUTE = map(table_of, (Attempt, Binding, Delivery, Route))
_BINDING_BEGUN = Upsert(_BINDING, where=_BINDING.c.external_id.is_(None), changing={
    "state": "creating", "acked_version": 0, "base_snapshot": excluded(_BINDING.c.base_snapshot),
    "sought_sealed": excluded(_BINDING.c.sought_sealed)})
_ATTEMPT_OPENED = sa.insert(_ATTEMPT)
MAY_BE_THERE = ("it may be there already: the answer to an earlier call was lost, and the target can neither be asked "
                "nor told twice; a person has to look there")


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who takes, and until when."""

    owner: str
    until: dt.datetime


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call to make, with all that it needs; its attempt is open.

    Attributes:
        action: write, delete or find.
        attempts: failures before this call.
        version: of the record that `body` shows; what the target will be known to have.
        key: under which the target is asked to do this once.
        references: entity → external id of the records that this one points at.
        traceparent: of the event behind it; the call goes on with that trace.
        last_call: the span of the call before this one, if there was one and it was traced.
        accepted_at: when the change came in.
        deadline_at: until when it may wait for records it needs, from the first time that it had to.
        tombstone: whether a delete leaves the binding, so that the record can be written to the same id again.
        pulled: whether changes of such records come back from the target.
        base: what both sides agreed on last, if they did; of a record that was adopted, what we had sent.
        adopted: whether it was found there after a lost answer, and nothing has been written to it since.
        sought: what the target is asked for it by while it is not bound (`AdapterSpec.sought_by`).
        begun: what it is looked for by before it is made, as an earlier call may have left it there; None if none may.
        needs: entity and id of the records that this one points at.
        once: fields that are left as they stand there: sent when a record is made, or in dispute.
        whole: whether `body` has what is sent only when a record is made.
        owners: what the route says of whose a field is that both sides changed.
        changed_at: when the record was last changed here.
        asking: entities of which a person is asked, should a record have gone there.
        unmappable: why the mapping in force could not make a body of the record.
        due_at: when it had become due.
        bound: the state of its binding before this call was begun; None if it had none.
        doubted_as: of a look-up, the class of the failure that led to the doubt.
    """

    delivery_id: str
    connection_id: str
    entity: str
    local_id: str
    op: str
    action: str
    fence: int
    attempts: int
    deferrals: int
    version: int
    key: str
    due_at: dt.datetime
    external_id: str | None = None
    remote_version: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    references: Mapping[str, str] = field(default_factory=dict)
    probes: int = 0
    doubt_since: dt.datetime | None = None
    traceparent: str | None = None
    last_call: str | None = None
    accepted_at: dt.datetime | None = None
    deadline_at: dt.datetime | None = None
    tombstone: bool = False
    pulled: bool = False
    base: Mapping[str, Any] | None = field(default=None, repr=False)
    adopted: bool = False
    sought: Mapping[str, str] | None = field(default=None, repr=False)
    begun: Mapping[str, str] | None = field(default=None, repr=False)
    needs: Sequence[tuple[str, str]] = ()
    once: frozenset[str] = frozenset()
    whole: bool = True
    owners: Mapping[str, Owner] = field(default_factory=dict)
    changed_at: dt.datetime | None = None
    asking: Collection[str] = ()
    unmappable: Unmappable | None = None
    bound: str | None = None
    doubted_as: str | None = None

    @property
    def lease(self) -> tuple[str, int]:
        """(delivery_id, fence)."""
        return self.delivery_id, self.fence

    @property
    def lane(self) -> lanes.Lane:
        """(connection_id, entity, local_id)."""
        return self.connection_id, self.entity, self.local_id


def claim(session: Session, keyring: Keyring, wanted: Sequence[tuple[str, int]], lease: Lease, now: dt.datetime,
          background: Collection[str] = ()) -> tuple[list[Job], set[str]]:
    """Lease up to so many due deliveries of each connection, and return a job for each that can be sent now.

    What waits behind the events is looked for only at the connections in `background`. The others leave the lease in
    the same transaction: blocked on what has to be there first, or skipped because the target has that version or a
    newer one. Also returned: the connections that may have more to do at once.
    """
    by_id = {connection_id: session.get_one(Connection, connection_id) for connection_id, _limit in wanted}
    by_connection = {
        connection_id: _take(session, by_id[connection_id], limit, lease, now,
                             lanes.PRIORITIES if connection_id in background else (lanes.EVENTS,))
        for connection_id, limit in wanted}
    taken = [row for rows in by_connection.values() for row in rows]
    if not taken:
        return [], set()
    bodies = _bodies(session, keyring, taken)
    mapped = in_force(session, by_id.values())
    specs = {id: registry.load(connection.adapter).spec for id, connection in by_id.items()}
    needs = {row.id: dependencies(row.entity, bodies[row.id][1], specs[row.connection_id].accounts)
             for row in taken if row.id in bodies}
    wanted_lanes = {(row.connection_id, *need) for row in taken for need in needs.get(row.id, ())}
    bound = lanes.bindings(session, {_lane(row) for row in taken} | wanted_lanes)
    jobs: list[Job] = []
    moves: list[Move] = []
    missing: set[lanes.Lane] = set()
    unsent = filters.left_out(session, taken, {id: state for id, (_copy, state) in bodies.items()}, bound, mapped)
    for row in taken:
        absent = [need for need in needs.get(row.id, ()) if not _is_bound(bound.get((row.connection_id, *need)))]
        job = _end(row, "skipped", "the route's filter leaves it out", failures.FILTERED) if row.id in unsent else (
            _unmatched(row, bound.get(_lane(row)), by_id[row.connection_id], now) or _job(
                row, bound, bodies.get(row.id), needs.get(row.id, ()), specs[row.connection_id]))
        if isinstance(job, Move):
            moves.append(job)
        elif absent and job.action != "delete":
            missing.add((row.connection_id, *absent[0]))
            moves.append(_blocked(row, absent[0], now))
        else:
            job = _mapped(job, mapped.get(row.connection_id))
            if row.payload is not None:
                job = payloads.put_back(keyring, row, job, bodies[row.id][1] if row.id in bodies else {})
            jobs.append(_with_both_sides(keyring, job, bound.get(_lane(row)), by_id[row.connection_id]))
    write_back(session, moves, now)
    dead = {move.lane: move.error or "" for move in moves if move.after == "dead"}
    ended = dependents.end(session, dead, now)
    announcements.deliveries_settled(
        session, [_ended(move, taken) for move in moves if move.after in TERMINAL] + ended)
    again = export(session, missing - dead.keys(), now)
    _start_bindings(session, keyring, jobs)
    open_attempts(session, jobs, now)
    full = {connection_id for connection_id, limit in wanted if len(by_connection[connection_id]) == limit}
    return jobs, again | (full & {move.lane[0] for move in moves})


def _take(session: Session, connection: Connection, limit: int, lease: Lease, now: dt.datetime,
          priorities: Sequence[int]) -> list[Any]:
    taken: list[Any] = []
    for priority in priorities:
        if len(taken) < limit:
            taken += session.execute(
                *_leasing(connection.id, priority, now, limit - len(taken), lease.owner, lease.until,
                          mapped=connection.mapping_version is not None)).all()
    return sorted(taken, key=lambda row: row.id)


@built_once
def _leasing(connection_id: str, priority: int, now: dt.datetime, limit: int, owner: str, until: dt.datetime, *,
             mapped: bool) -> sa.Executable:
    # A CTE, because PostgreSQL may evaluate a limited sub-select more than once.
    picked = lanes.claimable(connection_id, priority, now, limit).cte("picked")
    current = (sa.select(_ROUTE.c.mapping_version).where(
        _ROUTE.c.connection_id == _DELIVERY.c.connection_id, _ROUTE.c.entity == _DELIVERY.c.entity).scalar_subquery())
    version = sa.case((_DELIVERY.c.payload.is_(None), current), else_=_DELIVERY.c.mapping_version)
    return (sa.update(_DELIVERY).where(_DELIVERY.c.id.in_(sa.select(picked.c.id)))
            .values(state="leased", ahead=False, lease_owner=owner, lease_until=until, fence=_DELIVERY.c.fence + 1,
                    **({"mapping_version": version} if mapped else {}))
            .returning(*_DELIVERY.c))


def _bodies(session: Session, keyring: Keyring, taken: Sequence[Any]) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return, by delivery, our copy of its record and the state in it; without those that do not open."""
    found = lanes.records(session, {(row.entity, row.local_id) for row in taken})
    opened = {key: (copy, state) for key, copy in found.items()
              if (state := records.opened(keyring, copy)) is not None}
    return {row.id: opened[row.entity, row.local_id] for row in taken if (row.entity, row.local_id) in opened}


def _unmatched(row: Any, binding: Any, connection: Connection, now: dt.datetime) -> Move | None:
    """Return what becomes of a delivery whose record may be there under an id that we do not know; None if it goes."""
    if _is_bound(binding):
        return None
    if binding is not None and binding.state == "conflict":
        return _end(row, "skipped", "go-live matching left it out: it may be there already", failures.LEFT_OUT)
    if row.op != "upsert" or not _is_away(binding) or not connection.matches(row.entity):
        return None
    waits = _end(row, "retry_wait", "waits until a go-live matching has come to its end", failures.AWAITING_MATCH)
    return replace(waits, due_at=now + dt.timedelta(seconds=failures.MATCH_RECHECK_S), deferrals=row.deferrals + 1)


def _job(row: Any, bound: Mapping[lanes.Lane, Any], copy: tuple[Any, dict[str, Any]] | None,
         needs: Sequence[tuple[str, str]], spec: AdapterSpec) -> Job | Move:
    binding = bound.get(_lane(row))
    external_id = binding.external_id if binding else None
    version = copy[0].version if copy and row.payload is None else row.source_version
    # A binding without their id: a call was begun once and may have left something half-made, so the target is asked.
    if row.op == "delete" and binding is None:
        return _end(row, "skipped", "it was never made there")
    if row.op == "upsert" and copy is None:
        return _end(row, "dead", "our copy of the record is missing or does not open", failures.INVALID)
    acked = binding.acked_version if binding is not None and external_id else None
    # What a person decided goes, although the target was brought this version before.
    if row.op == "upsert" and row.origin not in DECIDED and is_stale(version, acked):
        return _end(row, "skipped", f"the target has version {acked}")
    barred = barring(spec, row.entity, copy[1]) if row.op == "upsert" and copy else None
    if barred is not None and _is_away(binding):
        return _end(row, "skipped", barred.reason)
    # Whoever sends again what may have arrived has looked there.
    if barred is None and row.replay_of is None and _may_be_doubled(spec, row, binding, copy):
        return _end(row, "dead", MAY_BE_THERE, failures.UNRESOLVABLE)
    references = {entity: bound[row.connection_id, entity, id].external_id
                  for entity, id in needs if _is_bound(bound.get((row.connection_id, entity, id)))}
    return Job(
        delivery_id=row.id, connection_id=row.connection_id, entity=row.entity, local_id=row.local_id, op=row.op,
        action="delete" if row.op == "delete" or barred else "write", fence=row.fence,
        tombstone=barred is not None and barred.may_return, attempts=row.attempts,
        deferrals=row.deferrals, version=version, external_id=external_id, references=references,
        traceparent=row.traceparent, last_call=row.last_call, accepted_at=row.created_at,
        deadline_at=row.deadline_at,
        # Until it is bound, every version of the record is made under one key: else a lost answer doubles it.
        key=row.idempotency_key if external_id or row.op != "upsert" else create_key(_lane(row)),
        remote_version=binding.remote_version if binding else None,
        body=copy[1] if copy else {}, adopted=acked == 0, needs=needs,
        changed_at=records.changed_at(*copy) if copy else None, once=disputes.frozen(binding),
        due_at=row.due_at, bound=binding.state if binding else None,
    )


def _mapped(job: Job, sent: InForce | None) -> Job:
    """Return the job with what the mapping in force makes of its record, or why it can make nothing of it."""
    if sent is None or job.action != "write":
        return job
    creating = job.external_id is None
    job = replace(job, owners=sent.owners.get(job.entity, {}), asking=sent.asking)
    try:
        body = sent.body(job.entity, job.body, creating=creating)
    except Unmappable as error:
        return replace(job, body={}, unmappable=error)
    if creating:
        return replace(job, body=body, once=frozenset())
    left_out = sent.once(job.entity)
    return replace(job, body=body, once=job.once | left_out, whole=not left_out)


def _with_both_sides(keyring: Keyring, job: Job, binding: Any, connection: Connection) -> Job:
    """Return the job with what both sides know of its record."""
    pulled, spec = connection.pulls(job.entity), registry.load(connection.adapter).spec
    job = replace(job, pulled=pulled, base=_base(keyring, binding) if pulled else None,
                  sought=_sought(keyring, spec, job, binding))
    return replace(job, begun=_begun(keyring, spec, job, binding))


def _base(keyring: Keyring, binding: Any) -> dict[str, Any] | None:
    return snapshots.opened(keyring, "base", _lane(binding), binding.base_snapshot) if binding else None


def _sought(keyring: Keyring, spec: AdapterSpec, job: Job, binding: Any) -> Mapping[str, str] | None:
    """Return what a record is looked for by: what is to be taken back, by what it may have been made with."""
    begun = sought_before(keyring, binding) if job.action == "delete" else None
    return spec.sought_by(job.entity, job.local_id, job.body or None) if begun is None else begun


def _begun(keyring: Keyring, spec: AdapterSpec, job: Job, binding: Any) -> Mapping[str, str] | None:
    """Return what the record is looked for by before it is made: where the adapter's own look would not do.

    That finds it by what it has now, and writes over what people there have done to it since.
    """
    if job.op != "upsert" or job.action != "write" or job.external_id is not None or _is_away(binding):
        return None
    before = sought_before(keyring, binding)
    if before is None:
        before = spec.sought_by(job.entity, job.local_id, None)
    return before if before and (job.pulled or before != job.sought) else None


def sought_before(keyring: Keyring, binding: Any) -> Mapping[str, str] | None:
    """Return the natural key under which a record was last begun to be made; None if it has none there."""
    return snapshots.opened(keyring, "sought", _lane(binding), binding.sought_sealed) if binding is not None else None


def create_key(lane: lanes.Lane) -> str:
    """Return the one key under which the record of a lane is ever made at its target."""
    _connection_id, entity, local_id = lane
    return f"{entity}-{local_id}"


def _end(row: Any, after: Any, reason: str, error_class: str | None = None) -> Move:
    return Move(id=row.id, lane=_lane(row), op=row.op, fence=row.fence, before="leased", after=after, due_at=row.due_at,
                attempts=row.attempts, deferrals=row.deferrals, error=reason, error_class=error_class,
                last_call=row.last_call)


def _ended(move: Move, taken: Sequence[Any]) -> announcements.Settled:
    row = next(row for row in taken if row.id == move.id)
    return announcements.Settled(id=move.id, lane=move.lane, version=row.source_version, state=move.after,
                                 error_class=move.error_class, error=move.error,
                                 traceparent=row.traceparent or "", accepted_at=row.created_at)


def _blocked(row: Any, need: tuple[str, str], now: dt.datetime) -> Move:
    waits = f"waits until {need[0]} {need[1]} is at the target" if need[0] != ACCOUNT else (
        f"the user {need[1]} has no account there: PUT /connections/{row.connection_id}/accounts/{need[1]}")
    return Move(id=row.id, lane=_lane(row), op=row.op, fence=row.fence, before="leased", after="blocked",
                due_at=now + dt.timedelta(seconds=failures.RECHECK_S), attempts=row.attempts,
                deferrals=row.deferrals + 1, blocked_on=need,
                deadline_at=row.deadline_at or now + dt.timedelta(seconds=retry.WINDOW_S),
                error_class=failures.DEPENDENCY_MISSING, error=waits, last_call=row.last_call)


def export(session: Session, missing: Iterable[lanes.Lane], now: dt.datetime) -> set[str]:
    """Accept a delivery for each record that something waits for, from our copy, unless one is open.

    Returns:
        The connections that have such a delivery now.
    """
    lanes_missing = set(missing)
    if not lanes_missing:
        return set()
    wanted = lanes_missing - lanes.open_lanes(session, lanes_missing)
    known = lanes.records(session, {(entity, id) for _connection, entity, id in wanted})
    plans = [intake.plan(connection_id, entity, id, "upsert", known[entity, id].version, now)
             for connection_id, entity, id in sorted(wanted) if (entity, id) in known]
    intake.add_missing(session, plans)
    return {plan["connection_id"] for plan in plans}


def _start_bindings(session: Session, keyring: Keyring, jobs: Sequence[Job]) -> None:
    # What we send is kept where people work on the record too: is the answer lost, it tells their changes from ours.
    # Our id stays what it is; a natural key may be another by the time that the record is looked for. Both are those of
    # the call that may have left something there, until a look has shown that it has not.
    _BINDING_BEGUN.put(session, [
        {"connection_id": job.connection_id, "entity": job.entity, "local_id": job.local_id, "state": "creating",
         "create_key": create_key(job.lane), "acked_version": 0,
         "base_snapshot": snapshots.seal(keyring, "base", job.lane, job.body if job.pulled else None),
         "sought_sealed": snapshots.seal(
             keyring, "sought", job.lane, None if "id" in (job.sought or {}) else job.sought)}
        for job in jobs
        if job.external_id is None and job.action == "write" and job.begun is None and job.unmappable is None])


def open_attempts(session: Session, jobs: Sequence[Job], now: dt.datetime) -> None:
    """Write the attempt of each job, open: were we to end here, somebody would look whether the call was made."""
    if jobs:
        session.execute(_ATTEMPT_OPENED, [
            {"id": new_id(), "delivery_id": job.delivery_id, "n": job.fence, "fence": job.fence, "action": job.action,
             "started_at": now, "payload_sealed": payloads.of_call(keyring_of(session), job)} for job in jobs])


def renew(session: Session, owner: str, leases: Sequence[tuple[str, int]], until: dt.datetime) -> set[tuple[str, int]]:
    """Extend our leases, each by its delivery and fence; return those that are still held."""
    return {(row.id, row.fence) for row in session.execute(*_renewing(list(leases), owner, until))}


@built_once
def _renewing(leases: Collection[tuple[str, int]], owner: str, until: dt.datetime) -> sa.Executable:
    return (sa.update(_DELIVERY)
            .where(sa.tuple_(_DELIVERY.c.id, _DELIVERY.c.fence).in_(leases), _DELIVERY.c.lease_owner == owner)
            .values(lease_until=until).returning(_DELIVERY.c.id, _DELIVERY.c.fence))


def _lane(row: Any) -> lanes.Lane:
    return row.connection_id, row.entity, row.local_id


def _may_be_doubled(spec: AdapterSpec, row: Any, binding: Any, copy: tuple[Any, dict[str, Any]] | None) -> bool:
    """Tell whether a lost call may have made a record, and nothing would keep the next one from making a second."""
    return (row.op == "upsert" and binding is not None and binding.state == "in_doubt" and binding.external_id is None
            and not spec.honours_key and spec.sought_by(row.entity, row.local_id, copy and copy[1]) is None)


def _is_away(binding: Any) -> bool:
    """Tell whether nothing of a record stands there. What was begun to be made may have been left half-made."""
    return binding is None or binding.state in ("unbound", "tombstoned")


def _is_bound(binding: Any) -> bool:
    return binding is not None and binding.external_id is not None
