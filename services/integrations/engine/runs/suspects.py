"""Asking both sides again about what looked wrong to a reconciliation: what holds is a finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from chassis.sealed import keyring_of
from hub_adapter.failure import Invalid
from hub_adapter.port import Context, Remote
from services.integrations.domain.differences import differing, values
from services.integrations.domain.mapping import Unmappable
from services.integrations.engine.targets import Target
from services.integrations.engine.turns import Turn
from services.integrations.operations import reconciliations
from services.integrations.operations.findings import Found
from services.integrations.operations.reconciliations import Scope, Side
from services.integrations.operations.records import canonical
from services.integrations.queries import lanes, sightings
from services.integrations.queries import reconciliations as queries

MOVED, KNOWN, UNFOUNDED, UNSENDABLE = "moved", "known", "unfounded", "unsendable"
"""Why something that looked wrong is no finding: it is changing, a person has it, it is in order by now, or it cannot
stand there as it is here."""
ACTIVE = "active"
"""The field that differs of a record that is out of use there and should not be."""


def expected_of(target: Target, ctx: Context, scope: Scope, side: Side) -> Mapping[str, Any] | None:
    """Return how a record of ours should stand there; None if it cannot."""
    try:
        body = scope.sent.body(scope.entity, side.state, creating=False)
        expected = target.expected(ctx, scope.entity, side.ours.local_id, body)
    except (Invalid, Unmappable):
        return None
    kept = {name: value for name, value in expected.items() if name not in scope.sent.once(scope.entity)}
    return {**kept, **({"account": side.account} if side.account else {})}


def differing_at(expected: Mapping[str, Any] | None, remote: Remote) -> list[str]:
    """Return the fields in which a record stands otherwise than it should."""
    if expected is None:
        return []
    return [*differing(expected, remote.body), *([] if remote.active else [ACTIVE])]


def ask_again(turn: Turn, scope: Scope, suspect: Any) -> Found | str:
    """Return what holds of a suspect, or why nothing does; a finding that nothing helps has `report` for a decision."""
    with turn.db.read() as session:
        asked = [suspect.local_id] if suspect.local_id else []
        ours = reconciliations.sides(session, keyring_of(session), scope, asked)
        about = [id for id in (suspect.external_id, suspect.candidate) if id]
        known = bool(queries.disputed(session, scope.connection_id, scope.entity, about)) or any(
            queries.is_dismissed(session, scope.connection_id, scope.entity, id, suspect.kind) for id in about)
    side = ours.get(suspect.local_id)
    if known:
        return KNOWN
    if side is not None and not side.ours.settled:
        return MOVED
    return _Again(turn, scope, suspect, side).answer()


def stands_as_told(turn: Turn, entity: str, external_id: str, told: Mapping[str, Any]) -> bool:
    """Tell whether a record stands there still as it was when it was found."""
    remote = turn.ask(partial(_get, entity, external_id))
    if remote is None:
        return False
    if remote.version is not None or told["version"] is not None:
        return bool(remote.version == told["version"])
    return canonical(remote.body) == canonical(told["record"])


class _Again:
    """One suspect, its record, and the target to be asked."""

    def __init__(self, turn: Turn, scope: Scope, suspect: Any, side: Side | None) -> None:
        self._turn, self._scope, self._suspect, self._side = turn, scope, suspect, side

    def answer(self) -> Found | str:
        """Return what holds."""
        ask: Mapping[str, Callable[[], Found | str]] = {
            "missing_remote": self._missing, "stale_binding": self._missing, "mismatch": self._mismatch,
            "duplicate_remote": self._double, "missing_local": self._stranger}
        return ask[self._suspect.kind]()

    def _missing(self) -> Found | str:
        if self._get(self._suspect.external_id) is not None:
            return UNFOUNDED
        expected = self._expected()
        if expected is None:
            return UNSENDABLE
        elsewhere = [one.external_id for one in self._with_our_key() if one.external_id != self._suspect.external_id]
        kind = "stale_binding" if elsewhere else "missing_remote"
        return Found(kind=kind, local_id=self._suspect.local_id, external_id=self._suspect.external_id,
                     candidates=elsewhere, detail={"ours": expected}, sensitive=self._sensitive())

    def _mismatch(self) -> Found | str:
        remote, expected = self._get(self._suspect.external_id), self._expected()
        fields = differing_at(expected, remote) if remote is not None else []
        if remote is None or not fields:
            return UNFOUNDED
        found = self._found(remote, fields=fields, ours=values(expected or {}, fields))
        # The target does not keep what it is sent: that is told, and not sent again each day.
        vain = self._side is not None and self._side.is_as_written(remote)
        return replace(found, decision="report") if vain else found

    def _double(self) -> Found | str:
        bound = self._side.ours.external_id if self._side else None
        if self._suspect.external_id == bound:
            places = self._with_our_key()
            return self._found(places[-1]) if len(places) > 1 else UNFOUNDED
        double = self._get(self._suspect.external_id)
        if double is None or not double.active or self._is_bound(double) or self._get(bound) is None:
            return UNFOUNDED
        return self._found(double)

    def _stranger(self) -> Found | str:
        remote = self._get(self._suspect.external_id)
        if remote is None or not remote.active:
            return UNFOUNDED
        known = self._side.ours.wanted if self._side else self._is_bound(remote) or self._is_told(remote)
        return UNFOUNDED if known else self._found(remote)

    def _found(self, remote: Remote, *, fields: Sequence[str] = (), ours: Mapping[str, Any] | None = None) -> Found:
        theirs = values(remote.body, [name for name in fields if name != ACTIVE]) if fields else dict(remote.body)
        return Found(kind=self._suspect.kind, local_id=self._suspect.local_id, external_id=remote.external_id,
                     fields=fields, detail={"ours": dict(ours or {}), "theirs": theirs, "told": {
                         "record": dict(remote.body), "version": remote.version}}, sensitive=self._sensitive())

    def _sensitive(self) -> list[str]:
        return self._scope.sent.sensitive(self._scope.entity)

    def _get(self, external_id: str | None) -> Remote | None:
        if external_id is None:
            return None
        return self._turn.ask(partial(_get, self._scope.entity, external_id))

    def _with_our_key(self) -> list[Remote]:
        """Return what the target finds by our key and what nothing else of ours is bound to."""
        state = self._side.state if self._side else {}
        sought = self._scope.spec.sought_by(self._scope.entity, self._suspect.local_id, state or None)
        if not sought:
            candidate = self._get(self._suspect.candidate)
            return [candidate] if candidate is not None else []
        return [one for one in self._turn.ask(partial(_find, self._scope.entity, sought)) if not self._is_bound(one)]

    def _is_bound(self, remote: Remote) -> bool:
        """Tell whether a record is bound to another one of ours."""
        place = (self._scope.connection_id, self._scope.entity, remote.external_id)
        with self._turn.db.read() as session:
            ours: str | None = lanes.bound_elsewhere(session, [place]).get(place)
        return ours is not None and ours != self._suspect.local_id

    def _is_told(self, remote: Remote) -> bool:
        """Tell whether a record's owner has heard of it by now."""
        with self._turn.db.read() as session:
            return bool(sightings.of(session, self._scope.connection_id, self._scope.entity, [remote.external_id]))

    def _expected(self) -> dict[str, Any] | None:
        if self._side is None:
            return None
        expected = self._turn.ask(partial(_expected, self._scope, self._side))
        return None if expected is None else dict(expected)


def _get(entity: str, external_id: str, target: Target, ctx: Context) -> Remote | None:
    return target.adapter.get(ctx, entity, external_id)


def _find(entity: str, sought: Mapping[str, str], target: Target, ctx: Context) -> Sequence[Remote]:
    return target.adapter.find(ctx, entity, sought)


def _expected(scope: Scope, side: Side, target: Target, ctx: Context) -> Mapping[str, Any] | None:
    return expected_of(target, ctx, scope, side)
