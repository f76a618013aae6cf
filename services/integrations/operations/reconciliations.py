"""What a reconciliation writes and what it compares with: our side of records, suspects, findings, and repairs."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.crypto import Keyring
from chassis.database import new_id
from hub_adapter.port import AdapterSpec, Capability, Remote
from services.integrations.domain.gates import barring
from services.integrations.domain.reconciliation import Ours, Suspect, Theirs, of_ours
from services.integrations.models import Listed, Run, Suspected
from services.integrations.operations import records
from services.integrations.operations.bodies import InForce
from services.integrations.operations.bulk import delete_some
from services.integrations.operations.records import HASHED, canonical
from services.integrations.queries import lanes, reconciliations, sightings
from services.integrations.queries.statements import table_of
from services.integrations.routing import ACCOUNT, dependencies

_LISTED, _RUN, _SUSPECTED = table_of(Listed), table_of(Run), table_of(Suspected)
_NOT_CONTENT = frozenset({"id", "account"})


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What is compared.

    Attributes:
        since: when the run began; what moved after that is left to the next one.
        pulled: whether what people do there comes back.
        sent: what the target is sent of a record.
    """

    run_id: str
    connection_id: str
    entity: str
    since: dt.datetime
    spec: AdapterSpec
    pulled: bool
    sent: InForce

    @property
    def by_natural_key(self) -> bool:
        """Whether the target has no room for our ids."""
        return Capability.FIND_BY_LOCAL_KEY not in self.spec.capabilities

    def lane(self, local_id: str) -> lanes.Lane:
        """Return the lane of a record."""
        return self.connection_id, self.entity, local_id


@dataclass(frozen=True, kw_only=True)
class Side:
    """Our side of one record.

    Attributes:
        state: empty where there is no copy.
        account: the assignee's, if it is known.
        last: the last delivery that is remembered.
    """

    ours: Ours
    version: int = 0
    state: Mapping[str, Any] = field(default_factory=dict, repr=False)
    binding: Any = None
    account: str | None = None
    last: Any = None

    def is_as_written(self, remote: Remote) -> bool:
        """Tell whether a record stands just as a repair of this version has left it: another would change nothing."""
        last, binding = self.last, self.binding
        return bool(last is not None and last.origin == "reconcile" and last.state == "delivered"
                    and last.source_version == self.version and remote.version is not None
                    and binding is not None and binding.remote_version == remote.version)


def sides(session: Session, keyring: Keyring, scope: Scope, local_ids: Collection[str]) -> dict[str, Side]:
    """Return our side of each of these records."""
    wanted = {scope.lane(id) for id in local_ids}
    if not wanted:
        return {}
    bound = lanes.bindings(session, wanted)
    copies = lanes.records(session, {lane[1:] for lane in wanted})
    under_way = {lane[2] for lane in lanes.open_lanes(session, wanted)}
    newest = reconciliations.newest_deliveries(session, scope.connection_id, scope.entity, local_ids)
    named = [binding.external_id for binding in bound.values() if binding.external_id]
    seen = sightings.of(session, scope.connection_id, scope.entity, named) if scope.pulled else {}
    disputed = reconciliations.disputed(session, scope.connection_id, scope.entity, named)
    states = {copy.id: records.opened(keyring, copy) for copy in copies.values()}
    accounts = _accounts(session, scope, states)
    found = {}
    for id in local_ids:
        binding, copy, last = bound.get(scope.lane(id)), copies.get((scope.entity, id)), newest.get(id)
        external_id = binding.external_id if binding else None
        sighting = seen.get(external_id or "")
        moved = [at for at in (copy and copy.seen_at, binding and binding.last_verified_at,
                               sighting and sighting.seen_at) if at and at > scope.since]
        # Bound once, and nobody remembers why it is no longer: it may have been taken back there for good.
        forgotten = binding is not None and external_id is None and last is None
        with_a_person = ((last is not None and last.state == "dead") or external_id in disputed
                         or (binding is not None and binding.state == "conflict"))
        unreadable = copy is not None and states.get(id) is None
        ours = Ours(local_id=id, external_id=external_id,
                    wanted=_wanted(scope, copy, states.get(id), last, stands=external_id is not None),
                    settled=not (id in under_way or moved or forgotten or with_a_person or unreadable))
        found[id] = Side(ours=ours, version=copy.version if copy else 0, state=states.get(id) or {}, binding=binding,
                         account=accounts.get(id), last=last)
    return found


def _wanted(scope: Scope, copy: Any, state: Mapping[str, Any] | None, last: Any, *, stands: bool) -> bool:
    if copy is None or copy.deleted or (last is not None and last.op == "delete"):
        return False
    return state is not None and barring(scope.spec, scope.entity, state) is None and (
        stands or scope.sent.admits(scope.entity, state))


def _accounts(session: Session, scope: Scope, states: Mapping[str, Mapping[str, Any] | None]) -> dict[str, str]:
    """Return in whose account each record is to lie, of those whose account is known."""
    assigned = {id: need for id, state in states.items() if state and scope.entity in scope.spec.accounts
                for need in dependencies(scope.entity, state, scope.spec.accounts) if need[0] == ACCOUNT}
    bound = lanes.bindings(session, {(scope.connection_id, *need) for need in assigned.values()})
    named = {id: bound.get((scope.connection_id, *need)) for id, need in assigned.items()}
    return {id: binding.external_id for id, binding in named.items() if binding is not None and binding.external_id}


# --- keys ---------------------------------------------------------------------------------------------------------


def own_key(keyring: Keyring, scope: Scope, told: Mapping[str, Any]) -> str | None:
    """Return the keyed hash of what makes a record ours: our id, or its natural key where there is no room for that."""
    if not scope.by_natural_key:
        id = str(told.get("id") or "")
        return keyring.blind(HASHED, f"id|{id}") if _is_an_id(id) else None
    name = scope.spec.natural_keys.get(scope.entity)
    value = told.get(name) if name else None
    return keyring.blind(HASHED, f"{name}|{value}") if value else None


def _is_an_id(text: str) -> bool:
    """Tell whether a text is an id of ours by its looks; targets number their own records in the same place."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _content(keyring: Keyring, body: Mapping[str, Any]) -> str:
    told = {name: value for name, value in body.items() if name not in _NOT_CONTENT and value not in (None, "")}
    return keyring.blind(HASHED, f"content|{canonical(told)}")


# --- phase by phase -----------------------------------------------------------------------------------------------


def bound_to(session: Session, scope: Scope, remotes: Sequence[Remote]) -> dict[str, str]:
    """Return, of what was listed, their id → ours."""
    places = [(scope.connection_id, scope.entity, remote.external_id) for remote in remotes]
    return {place[2]: local_id for place, local_id in lanes.bound_elsewhere(session, places).items()}


def keep_listed(session: Session, keyring: Keyring, scope: Scope, remotes: Sequence[Remote], bound: Mapping[str, str],
                first: int) -> None:
    """Keep what the comparison of the other side needs of a page; `first` is the number of its first row."""
    if remotes:
        session.execute(sa.insert(_LISTED), [
            {"run_id": scope.run_id, "n": first + n, "external_id": remote.external_id,
             "local_id": bound.get(remote.external_id), "own_key": own_key(keyring, scope, remote.body),
             "content": _content(keyring, remote.body), "active": remote.active}
            for n, remote in enumerate(remotes)])


def strangers(session: Session, scope: Scope, remotes: Sequence[Remote], bound: Mapping[str, str]) -> list[Suspect]:
    """Return what stands there, is bound to nothing, and should be known here.

    That is what carries an id of ours that nobody knows, and, where such records are taken over, what was never told.
    """
    unbound = [remote for remote in remotes if remote.external_id not in bound and remote.active]
    claimed = {one.external_id: str(one.body["id"]) for one in unbound
               if not scope.by_natural_key and _is_an_id(str(one.body.get("id") or ""))}
    known = lanes.records(session, {(scope.entity, id) for id in claimed.values()})
    seen = sightings.of(session, scope.connection_id, scope.entity, [one.external_id for one in unbound]
                        ) if scope.pulled else {}
    return [Suspect(kind="missing_local", local_id=claimed.get(one.external_id), external_id=one.external_id)
            for one in unbound
            if (one.external_id in claimed and (scope.entity, claimed[one.external_id]) not in known)
            or (one.external_id not in claimed and scope.pulled and one.external_id not in seen)]


def compared(session: Session, scope: Scope, page: Mapping[str, Side], own_keys: Mapping[str, str | None]
             ) -> list[Suspect]:
    """Return what is wrong with a page of our records but for their fields.

    Args:
        session: the transaction; the listing is complete.
        scope: what is compared.
        page: our side.
        own_keys: id of ours → what it is known by there.
    """
    named = {side.ours.external_id: id for id, side in page.items() if side.ours.external_id}
    carried = {key: id for id, key in own_keys.items() if key is not None}
    rows = reconciliations.listed_as(session, scope.run_id, external_ids=list(named), own_keys=list(carried))
    contents = {row.content: row.local_id for row in rows if row.local_id in page}
    there: dict[str, list[Theirs]] = {id: [] for id in page}
    for row in rows:
        owner = row.local_id or carried.get(row.own_key or "")
        if owner in there:
            there[owner].append(Theirs(external_id=row.external_id, active=row.active,
                                       carries_ours=carried.get(row.own_key or "") == owner))
    for row in reconciliations.copies(session, scope.run_id, list(contents)):
        there[contents[row.content]].append(Theirs(external_id=row.external_id, active=row.active))
    return [suspect for id, side in page.items() for suspect in of_ours(side.ours, there[id])]


def suspect(session: Session, scope: Scope, found: Iterable[Suspect]) -> None:
    """Keep what looks wrong, to be asked again."""
    rows = [{"run_id": scope.run_id, "id": new_id(), "kind": one.kind, "local_id": one.local_id,
             "external_id": one.external_id, "candidate": one.candidate} for one in found]
    if rows:
        session.execute(sa.insert(_SUSPECTED), rows)


def clear(session: Session, run_id: str, ids: Collection[str]) -> None:
    """Forget suspects that have been asked about."""
    session.execute(sa.delete(_SUSPECTED).where(_SUSPECTED.c.run_id == run_id, _SUSPECTED.c.id.in_(ids)))


def forget(session: Session) -> bool:
    """Forget some of what runs have kept that have ended; return whether there may be more."""
    ended = sa.select(_RUN.c.id).where(_RUN.c.ended_at.is_not(None))
    more = [delete_some(session, table, table.c.run_id.in_(ended)) for table in (_LISTED, _SUSPECTED)]
    return any(more)
