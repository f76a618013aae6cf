"""What the hub has taken over from a target: the owner's own event tells how far both sides agree now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.sealed import keyring_of
from services.integrations.domain import merging
from services.integrations.domain.bindings import create_key
from services.integrations.models import Binding
from services.integrations.operations import snapshots
from services.integrations.operations.bulk import Upsert, excluded
from services.integrations.operations.locks import lock
from services.integrations.queries import lanes, sightings
from services.integrations.queries.statements import table_of

log = telemetry.logger(__name__)

_BINDING = table_of(Binding)
_BORN = Upsert(_BINDING, where=_BINDING.c.external_id.is_(None), changing={
    name: excluded(_BINDING.c[name])
    for name in ("external_id", "state", "acked_version", "remote_version", "base_snapshot", "last_verified_at")})


def born_there(state: Mapping[str, Any], connection_id: str) -> str | None:
    """Return their id of a record that was born at this connection's target, as the record says."""
    ref = state.get("external_ref")
    if not isinstance(ref, Mapping) or ref.get("connection_id") != connection_id:
        return None
    return ref.get("external_id") or None


def take_over(session: Session, lane: lanes.Lane, state: Mapping[str, Any], version: int, *, came_back: bool) -> bool:
    """Bind a record that was born at the target, and note what both sides agree on now.

    Returns whether the target has what came back, so that it need not be brought there.

    Args:
        session: the transaction.
        lane: of the record.
        state: the record as its owner has it after the change.
        version: of that.
        came_back: whether this very change is the owner's answer to what the target reported.
    """
    connection_id, entity, _local_id = lane
    lock(session, [connection_id])
    binding = lanes.bindings(session, [lane]).get(lane)
    if binding is not None and binding.external_id:
        return came_back and _agree(session, lane, binding, state)
    external_id = born_there(state, connection_id)
    if external_id is None:
        return came_back and binding is None  # of one that was bound once, the target has nothing any more
    place = (connection_id, entity, external_id)
    if other := lanes.bound_elsewhere(session, [place]).get(place):
        log.error("external_ref_taken", connection_id=connection_id, entity=entity, id=lane[2], bound_to=other)
        return came_back
    sighting = sightings.of(session, connection_id, entity, [external_id]).get(external_id)
    seen = snapshots.opened(keyring_of(session), "seen", place, sighting.state_sealed) if sighting else None
    _BORN.put(session, [{
        "connection_id": connection_id, "entity": entity, "local_id": lane[2], "external_id": external_id,
        "state": "bound", "create_key": create_key(lane), "acked_version": version if came_back else 0,
        "remote_version": sighting.remote_version if sighting else None,
        "base_snapshot": snapshots.seal(keyring_of(session), "base", lane,
                                        merging.agreed(None, seen, state) if seen else None),
        "last_verified_at": sighting.seen_at if sighting else None}])
    return came_back


def _agree(session: Session, lane: lanes.Lane, binding: Any, state: Mapping[str, Any]) -> bool:
    """Note the fields in which the hub has what was seen there; if in all, their version is the one that we know.

    Returns whether what was seen still stands there.
    """
    place = (lane[0], lane[1], binding.external_id)
    sighting = sightings.of(session, lane[0], lane[1], [binding.external_id]).get(binding.external_id)
    keyring = keyring_of(session)
    seen = snapshots.opened(keyring, "seen", place, sighting.state_sealed) if sighting else None
    stands = not _is_overtaken(session, lane, binding.external_id, sighting, seen, state)
    if sighting is None or seen is None:
        return stands
    base = merging.agreed(snapshots.base_of(keyring, binding), seen, state)
    whole = merging.changed(seen, base) == []
    values = {"base_snapshot": snapshots.seal(keyring, "base", lane, base)}
    session.execute(
        sa.update(Binding)
        .where(Binding.connection_id == lane[0], Binding.entity == lane[1], Binding.local_id == lane[2])
        .values(values | ({"remote_version": sighting.remote_version} if whole else {}))
        .execution_options(synchronize_session=False))
    return stands


def _is_overtaken(session: Session, lane: lanes.Lane, external_id: str, sighting: Any, seen: Mapping[str, Any] | None,
                  state: Mapping[str, Any]) -> bool:
    """Tell whether a write of ours has replaced what they told, or may do so yet, with something else than `state`.

    It set out before the owner had heard of their change. What the target has since is our own, which nobody tells.
    """
    if lanes.in_flight(session, [lane]):
        return True
    writes = sightings.own_writes(session, lane[0], lane[1], [external_id]).get(external_id, {})
    told_at = sighting.seen_at if sighting else None
    if not writes or (told_at is not None and max(writes.values()) < told_at):
        return False
    return bool(merging.changed(seen or {}, state))
