"""Conflicts: what a call has come upon, and what a person decides."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.context import Subject
from chassis.sealed import keyring_of
from contracts.errors import Conflict as Refused
from contracts.errors import InvalidTransition
from services.integrations.domain import failures, resolutions
from services.integrations.domain.deliveries import Op
from services.integrations.domain.resolutions import DELETE_REFUSED, MADE_ANEW, MISSING_REMOTE
from services.integrations.models import Binding, Conflict
from services.integrations.operations import disputes, inbound, intake, snapshots
from services.integrations.operations.inbound import News
from services.integrations.operations.jobs import Job
from services.integrations.operations.leases import Move
from services.integrations.queries import deliveries, lanes, sightings

log = telemetry.logger(__name__)

def ended(session: Session, job: Job, move: Move, now: dt.datetime) -> None:
    """Ask a person where a delivery died because the target lets its record neither go nor be changed, or has lost it
    and the route says that somebody is to be asked."""
    if move.after != "dead" or job.external_id is None:
        return
    place = job.connection_id, job.entity, job.external_id
    if move.error_class == failures.NOT_FOUND and job.entity in job.asking:
        disputes.found(session, MISSING_REMOTE, place, job.local_id, now)
        return
    kept = job.op == "delete" and move.error_class == failures.INVALID
    if kept or move.error_class == failures.VERSION_CONFLICT:
        disputes.opened(session, {
            "connection_id": job.connection_id, "entity": job.entity, "external_id": job.external_id,
            "local_id": job.local_id, "fields": [], "reason": move.error or "", "remote_version": None,
            "code": DELETE_REFUSED if kept else failures.VERSION_CONFLICT}, now)


def lost(session: Session, gone: Mapping[lanes.Lane, str], now: dt.datetime) -> None:
    """Ask a person about records that their target has lost, each with its id there."""
    for lane, external_id in sorted(gone.items()):
        disputes.found(session, MISSING_REMOTE, (lane[0], lane[1], external_id), lane[2], now)


def require_open(conflict: Conflict) -> None:
    """Raise unless the conflict is still to be decided.

    Raises:
        InvalidTransition: it has been.
    """
    if conflict.state != "open":
        raise InvalidTransition(f"The conflict was decided already: {conflict.resolution}", state=conflict.state)


def require_possible(conflict: Conflict, resolution: Any) -> None:
    """Raise unless the conflict can be decided so.

    Raises:
        Conflict: with what is to be done instead.
    """
    why = resolutions.why_not(conflict.code, resolution, conflict.entity, conflict.fields,
                              bound=conflict.local_id is not None)
    if why is not None:
        raise Refused(why)


def keep_local(session: Session, conflict: Conflict, now: dt.datetime) -> str:
    """Bring our record there again, or take it away again; return the connection that has work now.

    What stands there counts as known, so that it is overwritten. What has gone there is made anew.

    Raises:
        Conflict: nothing of ours is bound to it, or there is no copy of our record.
    """
    if conflict.local_id is None:
        raise Refused("No record of the hub is bound to it: there is nothing to bring there")
    lane = (conflict.connection_id, conflict.entity, conflict.local_id)
    known = lanes.records(session, {lane[1:]}).get(lane[1:])
    if known is None:
        raise Refused("The hub keeps no copy of its record: change it, and it is brought there")
    if conflict.code in MADE_ANEW:
        unbind(session, lane, conflict.external_id)
    else:
        _yield(session, lane, conflict.external_id)
    # The code tells the latest of several reasons. A record that was to go must not be brought there for another one.
    going = conflict.code == DELETE_REFUSED or deliveries.last_op(session, *lane) == "delete"
    op: Op = "delete" if going else "upsert"
    plan = intake.plan(*lane, op, known.version, now)
    plan |= {"origin": "reconcile", "idempotency_key": f"{plan['idempotency_key']}-{conflict.id}"[:160]}
    intake.enqueue(session, op, [plan], now)
    return conflict.connection_id


def unbind(session: Session, lane: lanes.Lane, external_id: str) -> None:
    """Forget that a record stood there under this id."""
    session.execute(
        sa.update(Binding)
        .where(Binding.connection_id == lane[0], Binding.entity == lane[1], Binding.local_id == lane[2],
               Binding.external_id == external_id)
        .values(external_id=None, state="unbound").execution_options(synchronize_session=False))


def _yield(session: Session, lane: lanes.Lane, external_id: str) -> None:
    """Take what was last seen there for what both sides started from."""
    sighting = sightings.of(session, lane[0], lane[1], [external_id]).get(external_id)
    if sighting is None:
        return
    keyring = keyring_of(session)
    seen = snapshots.opened(keyring, "seen", (lane[0], lane[1], external_id), sighting.state_sealed)
    session.execute(
        sa.update(Binding)
        .where(Binding.connection_id == lane[0], Binding.entity == lane[1], Binding.local_id == lane[2])
        .values(remote_version=sighting.remote_version, base_snapshot=snapshots.seal(keyring, "base", lane, seen))
        .execution_options(synchronize_session=False))


def keep_remote(session: Session, conflict: Conflict, found: News, now: dt.datetime) -> None:
    """Tell the owner again what stands at the target: the fields in dispute, or all."""
    place = (conflict.connection_id, conflict.entity, conflict.external_id)
    fields = None if found.deleted else list(conflict.fields) or None
    inbound.tell_again(session, place, found, fields, conflict.local_id, now)


def resolved(session: Session, conflict: Conflict, request: Mapping[str, Any], now: dt.datetime, *,
             by: Subject) -> Conflict:
    """Note how a conflict was decided, by whom and why."""
    conflict.state, conflict.resolution, conflict.note = "resolved", request["resolution"], request["note"] or None
    conflict.resolved_at = conflict.updated_at = now
    conflict.resolved_by = by.id
    conflict.version += 1
    session.flush()
    log.info("conflict_resolved", conflict_id=conflict.id, resolution=conflict.resolution, by=by.id)
    return conflict
