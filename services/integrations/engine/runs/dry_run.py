"""Dry run: what would be sent of each record, against what the target has now. It changes nothing on either side.

The target is only asked; the session that the adapter is lent refuses any call that changes something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from marshmallow import fields, validate
from sqlalchemy.orm import Session

from chassis.sealed import keyring_of
from contracts.schema import Request
from hub_adapter.failure import Invalid
from hub_adapter.port import AdapterSpec, Context, Remote
from services.integrations.domain import failures, finding_reasons
from services.integrations.domain.deliveries import is_stale
from services.integrations.domain.differences import differing, values
from services.integrations.domain.gates import barring
from services.integrations.domain.mapping import Unmappable
from services.integrations.engine.asking import CallFailed
from services.integrations.engine.targets import Target
from services.integrations.engine.turns import Asked, Turn
from services.integrations.models import Connection
from services.integrations.operations import bodies, disputes, records
from services.integrations.operations.bodies import InForce
from services.integrations.operations.findings import Found
from services.integrations.operations.runs import Plan, Step
from services.integrations.queries import lanes, walks

PAGE = 50
OF_ONE_RECORD = (failures.INVALID, failures.NOT_FOUND, failures.ADAPTER_ERROR)
"""Failures of a record for which the others do not wait."""


class Filter(Request):
    """Which records are looked at; all of the entity by default."""

    local_ids = fields.List(fields.String(validate=validate.Length(max=64)), validate=validate.Length(min=1, max=500))


class Options(Request):
    """How many records are looked at; all by default."""

    limit = fields.Integer(strict=True, validate=validate.Range(min=1))


@dataclass(frozen=True)
class _Ours:
    """A record of ours, and where it is bound; `state` is None if it does not open."""

    row: Any
    state: Mapping[str, Any] | None
    binding: Any

    @property
    def external_id(self) -> str | None:
        return self.binding.external_id if self.binding is not None else None


def plan(session: Session, asked: Asked) -> Plan:
    """Return how the dry run begins."""
    named = asked.filter.get("local_ids")
    total = len(set(named)) if named else walks.count(session, asked.entity)
    return Plan(total=min(total, asked.options.get("limit", total)))


def advance(turn: Turn) -> Step:
    """Look at the next page of records; a page that takes long, or whose target stops answering, ends early."""
    with turn.db.read() as session:
        ids = _next_ids(session, turn)
    counts: Counter[str] = Counter()
    found: list[Found] = []
    for kind, finding in rehearsed(turn, ids):
        counts.update(("seen", kind))
        found += [finding] if finding else []
        if turn.is_over:
            break
    looked = counts["seen"]
    done = looked == len(ids) and _is_last(turn, ids)
    return Step(then="done" if done else "go_on", counts=counts, findings=found,
                position={"after": ids[looked - 1]} if looked else None)


def rehearsed(turn: Turn, ids: Sequence[str]) -> Iterator[tuple[str, Found | None]]:
    """Yield what would become of each of these records, and the finding where that is worth one.

    Raises:
        CallFailed: the target cannot be asked of the first; where it fails later, the others are left out.
    """
    spec = turn.target().adapter.spec
    with turn.db.read() as session:
        ours = _opened(session, turn, ids)
        sent = bodies.of(session, session.get_one(Connection, turn.run.connection_id))
    for n, id in enumerate(ids):
        try:
            yield _looked_at(turn, spec, sent, ours[id]) if id in ours else ("deleted", None)
        except CallFailed:
            if n == 0:
                raise
            return


def _next_ids(session: Session, turn: Turn) -> list[str]:
    """Return the next ids, in order."""
    run, after = turn.run, turn.run.position.get("after", "")
    room = min(PAGE, run.options.get("limit", PAGE + run.counts.get("seen", 0)) - run.counts.get("seen", 0))
    named = run.filter.get("local_ids")
    if named:
        return sorted(id for id in set(named) if id > after)[:room]
    return walks.ids_after(session, run.entity, after, room)


def _is_last(turn: Turn, ids: Sequence[str]) -> bool:
    limit = turn.run.options.get("limit")
    return len(ids) < PAGE or (limit is not None and turn.run.counts.get("seen", 0) + len(ids) >= limit)


def _opened(session: Session, turn: Turn, ids: Sequence[str]) -> dict[str, _Ours]:
    """Return those of our records that are not gone."""
    run = turn.run
    bound = lanes.bindings(session, {(run.connection_id, run.entity, id) for id in ids})
    rows, keyring = lanes.records(session, {(run.entity, id) for id in ids}), keyring_of(session)
    return {row.id: _Ours(row, records.opened(keyring, row), bound.get((run.connection_id, run.entity, row.id)))
            for row in rows.values() if not row.deleted}


def _looked_at(turn: Turn, spec: AdapterSpec, sent: InForce, ours: _Ours) -> tuple[str, Found | None]:
    """Return what would become of a record, and the finding where that is worth one.

    Raises:
        CallFailed: the target cannot be asked now.
    """
    if ours.state is None:
        return _told(ours, "refused", detail={"reason": finding_reasons.NOT_OPENED})
    barred = barring(spec, ours.row.entity, ours.state)
    away = ours.binding is None or ours.binding.state in ("unbound", "tombstoned")
    if away and not sent.admits(ours.row.entity, ours.state):
        return "withheld", None
    if barred is not None:
        return ("withheld", None) if away else _told(ours, "withdraw", detail={"reason": barred.reason})
    try:
        theirs = turn.ask(partial(_both_sides, sent, ours), dry_run=True)
    except CallFailed as error:
        if error.failed.kind not in OF_ONE_RECORD:
            raise
        return _told(ours, "refused", [error.failed.field] if error.failed.field else [],
                     detail={"reason": finding_reasons.refused(error.failed.message)})
    kind, found = _compared(ours, theirs)
    return kind, found and replace(found, sensitive=sent.sensitive(ours.row.entity))


@dataclass(frozen=True)
class _Theirs:
    """How a record should stand there, and how it does: None if it is not there, or nobody can be asked (`known`)."""

    expected: Mapping[str, Any]
    remote: Remote | None
    known: bool = True


def _both_sides(sent: InForce, ours: _Ours, target: Target, ctx: Context) -> _Theirs:
    entity = ours.row.entity
    try:
        body = sent.body(entity, ours.state or {}, creating=ours.external_id is None)
    except Unmappable as error:
        raise Invalid(f"the mapping cannot fill it: {error}", field=f"/{error.field}") from error
    expected = target.expected(ctx, entity, ours.row.id, body)
    if ours.external_id is not None:
        kept = sent.once(entity) | disputes.frozen(ours.binding)
        expected = {name: value for name, value in expected.items() if name not in kept}
        return _Theirs(expected, target.adapter.get(ctx, entity, ours.external_id))
    sought = target.adapter.spec.sought_by(entity, ours.row.id, body)
    found = target.adapter.find(ctx, entity, sought) if sought else []
    return _Theirs(expected, found[0] if found else None, known=sought is not None)


def _compared(ours: _Ours, theirs: _Theirs) -> tuple[str, Found | None]:
    if theirs.remote is None:
        return _told(ours, "create" if theirs.known else "unknown", detail={"ours": dict(theirs.expected)})
    names = differing(theirs.expected, theirs.remote.body)
    if not names:
        return "same", None
    # A target that was brought this version has been changed since: nothing would be sent.
    brought = ours.external_id is not None and is_stale(ours.row.version, ours.binding.acked_version)
    return _told(ours, "drifted" if brought else "update", names, theirs.remote.external_id, detail={
        "ours": values(theirs.expected, names), "theirs": values(theirs.remote.body, names)})


def _told(ours: _Ours, kind: str, names: Sequence[str] = (), external_id: str | None = None, *,
          detail: Mapping[str, Any]) -> tuple[str, Found]:
    return kind, Found(kind=kind, local_id=ours.row.id, external_id=external_id or ours.external_id, fields=names,
                       detail=detail)
