"""Taking due deliveries: lease them, see what each needs, and open an attempt for each call, before a byte leaves."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.crypto import Keyring
from chassis.database import new_id
from chassis.sealed import keyring_of
from services.integrations.adapters import registry
from services.integrations.domain.bindings import create_key
from services.integrations.domain.deliveries import EVENTS, PRIORITIES, TERMINAL
from services.integrations.models import Attempt, Binding, Connection, Delivery, Route
from services.integrations.operations import (
    announcements,
    dependents,
    filters,
    intake,
    obstacles,
    payloads,
    records,
    snapshots,
)
from services.integrations.operations.bodies import in_force
from services.integrations.operations.bulk import Upsert, excluded
from services.integrations.operations.jobs import Job, Leased, job_of
from services.integrations.operations.leases import Move, write_back
from services.integrations.queries import due, lanes
from services.integrations.queries.statements import built_once, table_of
from services.integrations.routing import dependencies

_ATTEMPT, _BINDING, _DELIVERY, _ROUTE = map(table_of, (Attempt, Binding, Delivery, Route))
_BINDING_BEGUN = Upsert(_BINDING, where=_BINDING.c.external_id.is_(None), changing={
    "state": "creating", "acked_version": 0, "base_snapshot": excluded(_BINDING.c.base_snapshot),
    "sought_sealed": excluded(_BINDING.c.sought_sealed)})
_ATTEMPT_OPENED = sa.insert(_ATTEMPT)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who takes, and until when."""

    owner: str
    until: dt.datetime


def claim(session: Session, keyring: Keyring, wanted: Sequence[tuple[str, int]], lease: Lease, now: dt.datetime,
          background: Collection[str] = ()) -> tuple[list[Job], set[str]]:
    """Lease up to so many due deliveries of each connection, and return a job for each that can be sent now.

    What waits behind the events is looked for only at the connections in `background`. What an obstacle keeps leaves
    the lease in the same transaction. Also returned: the connections that may have more to do at once.
    """
    connections = {id: session.get_one(Connection, id) for id, _limit in wanted}
    taken = [row for id, limit in wanted for row in _take(
        session, connections[id], limit, lease, now, PRIORITIES if id in background else (EVENTS,))]
    if not taken:
        return [], set()
    leased = _looked_up(session, keyring, taken, connections)
    filtered = filters.left_out(session, leased)
    jobs: list[Job] = []
    moves: list[Move] = []
    for one in leased:
        move = obstacles.met(one, now, filtered=one.row.id in filtered)
        if move is None:
            jobs.append(job_of(keyring, one))
        else:
            moves.append(move)
    again = _let_go(session, moves, {row.id: row for row in taken}, now)
    _start_bindings(session, keyring, jobs)
    open_attempts(session, jobs, now)
    counted = Counter(row.connection_id for row in taken)
    full = {id for id, limit in wanted if counted[id] == limit}
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
    picked = due.claimable(connection_id, priority, now, limit).cte("picked")
    current = (sa.select(_ROUTE.c.mapping_version).where(
        _ROUTE.c.connection_id == _DELIVERY.c.connection_id, _ROUTE.c.entity == _DELIVERY.c.entity).scalar_subquery())
    version = sa.case((_DELIVERY.c.payload.is_(None), current), else_=_DELIVERY.c.mapping_version)
    return (sa.update(_DELIVERY).where(_DELIVERY.c.id.in_(sa.select(picked.c.id)))
            .values(state="leased", ahead=False, lease_owner=owner, lease_until=until, fence=_DELIVERY.c.fence + 1,
                    **({"mapping_version": version} if mapped else {}))
            .returning(*_DELIVERY.c))


def _looked_up(session: Session, keyring: Keyring, taken: Sequence[Any],
               connections: Mapping[str, Connection]) -> list[Leased]:
    """Return these deliveries with what is known of each."""
    copies = lanes.records(session, {(row.entity, row.local_id) for row in taken})
    states = {key: records.opened(keyring, copy) for key, copy in copies.items()}
    sent = in_force(session, connections.values())
    specs = {id: registry.load(connection.adapter).spec for id, connection in connections.items()}
    needs = {row.id: dependencies(row.entity, states.get((row.entity, row.local_id)) or {},
                                  specs[row.connection_id].accounts) for row in taken}
    bound = lanes.bindings(session, {_lane(row) for row in taken} | {
        (row.connection_id, *need) for row in taken for need in needs[row.id]})
    return [
        Leased(row=row, connection=connections[row.connection_id], spec=specs[row.connection_id],
               sent=sent.get(row.connection_id), copy=copies.get((row.entity, row.local_id)),
               state=states.get((row.entity, row.local_id)), binding=bound.get(_lane(row)),
               needs={need: bound.get((row.connection_id, *need)) for need in needs[row.id]})
        for row in taken]


def _lane(row: Any) -> lanes.Lane:
    return row.connection_id, row.entity, row.local_id


def _let_go(session: Session, moves: Sequence[Move], rows: Mapping[str, Any], now: dt.datetime) -> set[str]:
    """Write down what does not go, and export what it waits for; return the connections that have more to do."""
    missing = {(move.lane[0], *move.blocked_on) for move in moves if move.blocked_on is not None}
    write_back(session, moves, now)
    dead = {move.lane: move.error or "" for move in moves if move.after == "dead"}
    ended = dependents.end(session, dead, now)
    announcements.deliveries_settled(
        session, [_ended(move, rows[move.id]) for move in moves if move.after in TERMINAL] + ended)
    return export(session, missing - dead.keys(), now)


def _ended(move: Move, row: Any) -> announcements.Settled:
    return announcements.Settled(id=move.id, lane=move.lane, version=row.source_version, state=move.after,
                                 error_class=move.error_class, error=move.error,
                                 traceparent=row.traceparent or "", accepted_at=row.created_at)


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


def held(session: Session, owner: str, leases: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
    """Return those of our leases, each by its delivery and fence, that are still held, locked."""
    if not leases:
        return set()
    found = sa.select(_DELIVERY.c.id, _DELIVERY.c.fence).where(*_leased(leases, owner)).with_for_update()
    return {(row.id, row.fence) for row in session.execute(found)}


def renew(session: Session, owner: str, leases: Sequence[tuple[str, int]], until: dt.datetime) -> set[tuple[str, int]]:
    """Extend our leases, each by its delivery and fence; return those that are still held."""
    return {(row.id, row.fence) for row in session.execute(*_renewing(list(leases), owner, until))}


@built_once
def _renewing(leases: Collection[tuple[str, int]], owner: str, until: dt.datetime) -> sa.Executable:
    return (sa.update(_DELIVERY)
            .where(*_leased(leases, owner))
            .values(lease_until=until).returning(_DELIVERY.c.id, _DELIVERY.c.fence))


def _leased(leases: Any, owner: Any) -> tuple[sa.ColumnElement[bool], ...]:
    return sa.tuple_(_DELIVERY.c.id, _DELIVERY.c.fence).in_(leases), _DELIVERY.c.lease_owner == owner
