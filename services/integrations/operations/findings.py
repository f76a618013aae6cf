"""Noting what a run has found, and what people decide about it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.database import new_id
from chassis.sealed import keyring_of
from contracts.errors import Conflict, Invalid, StaleVersion
from services.integrations.domain import reconciliation
from services.integrations.domain.runs import DECISIONS, TO_CONFIRM
from services.integrations.models import Finding
from services.integrations.models.finding import sealed_detail
from services.integrations.queries import findings, runs
from services.integrations.queries.statements import table_of

_NOTED = sa.insert(table_of(Finding))
DECIDED = "decided"
"""State of a finding that something is to be done about."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One thing found.

    Attributes:
        candidates: their ids, of which one may be ours.
        fields: names of those that differ.
        detail: values of both sides, JSON-ready; it is sealed.
        sensitive: target fields in `detail` that a mapping makes of sensitive ones.
        decision: what would be done about it unless a person decides otherwise; it counts as decided.
    """

    kind: str
    local_id: str | None = None
    external_id: str | None = None
    candidates: Sequence[str] = ()
    fields: Sequence[str] = ()
    detail: Mapping[str, Any] | None = field(default=None, repr=False)
    sensitive: Sequence[str] = ()
    decision: str | None = None

    @property
    def told(self) -> dict[str, Any] | None:
        """The detail as it is kept, with what in it is sensitive."""
        if self.detail is None:
            return None
        return {**self.detail, **({"sensitive": list(self.sensitive)} if self.sensitive else {})}


def add(session: Session, run_id: str, found: Sequence[Found], now: dt.datetime) -> int:
    """Note what was found; return of how much something is to be done, unless a person decides otherwise."""
    keyring, rows = keyring_of(session), []
    for one in found:
        id = new_id()
        rows.append({
            "id": id, "version": 1, "run_id": run_id, "kind": one.kind, "local_id": one.local_id,
            "external_id": one.external_id, "candidates": list(one.candidates), "fields": list(one.fields),
            "decision": one.decision,
            "detail_sealed": sealed_detail(keyring, id, one.told),
            "state": _state(one.decision), "decided_by": None, "created_at": now})
    if rows:
        session.execute(_NOTED, rows)
    return sum(row["state"] == DECIDED for row in rows)


def _state(decision: str | None) -> str:
    return "open" if decision is None else "skipped" if decision == "ignore" else DECIDED


def decide(session: Session, request: Mapping[str, Any], *, by: Subject) -> dict[str, Any]:
    """Say what is to be done about a finding, and return it under masks; it is done once the run is approved.

    Raises:
        NotFound: there is no such run or finding, or it is out of reach.
        Conflict: the run does not await approval, or that would not take effect.
        StaleVersion: it has been decided since the caller read it.
        Invalid: nothing of the kind can be done about it, or it is not said which record to link.
    """
    run = runs.get(session, request["id"], by, "operate", locked=True)
    finding = findings.get(session, run.id, request["finding_id"])
    if run.state != "awaiting_approval":
        raise Conflict(f"Findings are decided while their run awaits approval; this one is {run.state}")
    if finding.version != request["expected_version"]:
        raise StaleVersion("The finding has been decided since you read it", version=finding.version)
    allowed, decision = DECISIONS.get(finding.kind, ()), request["decision"]
    if decision not in allowed:
        raise Invalid.of("/decision", "unsupported", f"About this finding can be decided: {', '.join(allowed)}.")
    if wrong := reconciliation.why_not(decision, finding.kind, run.entity, local_id=finding.local_id,
                                       external_id=finding.external_id, fields=finding.fields):
        raise Conflict(wrong)
    if decision == "link":
        finding.external_id = _linked(finding, request["external_id"])
    before = finding.state
    finding.decision, finding.state, finding.decided_by = decision, _state(decision), by.id
    more = (finding.state == DECIDED) - (before == DECIDED)
    run.counts = {**run.counts, TO_CONFIRM: run.counts.get(TO_CONFIRM, 0) + more}
    finding.version += 1
    session.flush()
    return findings.told(run, finding, None)


def _linked(finding: Finding, wanted: str | None) -> str:
    candidates = dict.fromkeys([*([finding.external_id] if finding.external_id else []), *finding.candidates])
    chosen = wanted or (next(iter(candidates)) if len(candidates) == 1 else None)
    if chosen not in candidates or chosen is None:
        raise Invalid.of("/external_id", "unknown", f"The finding's candidates are: {', '.join(candidates)}.")
    return chosen
