"""Go-live matching: finds out which of our records a target has already, asks a person, and binds what was confirmed.

Until it has ended nothing of the entity is created there (`operations.claims`); the backfill after it creates what is
new. No step but the listings calls the target, and none changes anything there.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from chassis.sealed import keyring_of
from contracts.errors import Conflict, Invalid
from contracts.schema import Request
from hub_adapter.port import Capability, Page, Remote
from services.integrations.adapters import registry
from services.integrations.domain.matching import ENTITIES, Candidate, KnownBy
from services.integrations.domain.runs import RELEASING
from services.integrations.engine.turns import Asked, Turn
from services.integrations.operations import linking, matching
from services.integrations.operations.findings import Found
from services.integrations.operations.matching import Judged, Matching, Noted
from services.integrations.operations.runs import Effect, Plan, Step
from services.integrations.queries import matching as queries

RECORDS, HASHES, RELEASED = 100, 2000, 500
"""Records, hashes of what they are known by, or deliveries that waited for all this, of one page."""
DECIDED = {"certain": "link", "new": "create"}
"""What is done about a finding unless a person decides otherwise; what is doubtful is left out."""


class Filter(Request):
    """A matching is over the whole entity: what is left out of it would be made a second time."""


class Options(Request):
    """A matching takes none."""


def plan(session: Session, asked: Asked) -> Plan:
    """Return how the matching begins.

    Raises:
        Invalid: records of the entity are known by nothing that the target could tell.
        Conflict: the target cannot be listed whole.
    """
    connection, spec = asked.connection, registry.load(asked.connection.adapter).spec
    if asked.entity not in ENTITIES:
        raise Invalid.of("/entity", "unsupported", f"What can be matched: {', '.join(ENTITIES)}.")
    if Capability.LIST_COMPLETE not in spec.capabilities:
        raise Conflict(f"{connection.name} cannot list every {asked.entity} that it has")
    return Plan(phase="theirs")


def advance(turn: Turn) -> Step:
    """Go on with the next page of the phase."""
    run = turn.run
    of = Matching(run_id=run.id, connection_id=run.connection_id, entity=run.entity, region=turn.region)
    return _PHASES[run.phase or "theirs"](turn, of)


def _theirs(turn: Turn, of: Matching) -> Step:
    page = turn.listed(turn.run.position.get("cursor"))
    with turn.db.read() as session:
        keyring = keyring_of(session)
    noted = matching.noted_theirs(keyring, of, page.items)
    return _next(page, "ours", partial(_noted, "theirs", of, noted))


def _ours(turn: Turn, of: Matching) -> Step:
    with turn.db.read() as session:
        page = session.execute(*queries.unbound(of.connection_id, of.entity, _after(turn), RECORDS)).all()
        keyring = keyring_of(session)
    if not page:
        return Step(phase="pairing", position={})
    noted = matching.noted_ours(keyring, of, page)
    return Step(position={"after": page[-1].id}, effect=partial(_noted, "ours", of, noted))


def _noted(side: str, of: Matching, page: Sequence[Noted], session: Session, now: dt.datetime) -> Mapping[str, int]:
    return {side: matching.note(session, of, page)}


def _pairing(turn: Turn, of: Matching) -> Step:
    with turn.db.read() as session:
        last: str | None = session.scalar(queries.last_of_stretch(of.run_id, _after(turn), HASHES))
    if last is None:
        return Step(phase="judging", position={}, total=turn.run.counts.get("ours", 0))

    return Step(position={"after": last}, effect=partial(_paired, of, _after(turn), last))


def _paired(of: Matching, after: str, last: str, session: Session, now: dt.datetime) -> Mapping[str, int]:
    return {"too_common": matching.pair(session, of, after, last)}


def _judging(turn: Turn, of: Matching) -> Step:
    with turn.db.read() as session:
        ids = list(session.scalars(queries.next_ours(of.run_id, _after(turn), RECORDS)))
        if not ids:
            return Step(then="ask", phase="linking", position={}, counts={
                "only_theirs": queries.only_theirs(session, of.run_id)})
        judged = matching.judge(session, keyring_of(session), of, ids)
        theirs = matching.shown(session, keyring_of(session), of, {
            candidate.external_id for one in judged for candidate in one.judgement.candidates})
    counts: Counter[str] = Counter(one.judgement.verdict for one in judged)
    return Step(position={"after": ids[-1]}, counts={"seen": len(ids), **counts},
                findings=[_found(one, theirs) for one in judged])


def _found(one: Judged, theirs: Mapping[str, KnownBy]) -> Found:
    verdict, candidates = one.judgement.verdict, one.judgement.candidates
    return Found(
        kind=verdict, local_id=one.local_id, decision=DECIDED.get(verdict),
        external_id=candidates[0].external_id if verdict == "certain" else None,
        candidates=[candidate.external_id for candidate in candidates],
        fields=sorted({kind for candidate in candidates for kind in candidate.against}),
        detail={"ours": one.known_by, "theirs": [_shown(each, theirs[each.external_id]) for each in candidates],
                **({"too_common": sorted(one.too_common)} if one.too_common else {})})


def _shown(candidate: Candidate, known_by: KnownBy) -> dict[str, Any]:
    return {"id": candidate.external_id, "active": candidate.active, "same": sorted(candidate.shared),
            "different": sorted(candidate.against), "shared_by_others": sorted(candidate.crowded), **known_by}


def _linking(turn: Turn, of: Matching) -> Step:
    page = turn.listed(turn.run.position.get("cursor"))
    return _next(page, "settling", partial(_linked, of, page.items))


def _linked(of: Matching, page: Sequence[Remote], session: Session, now: dt.datetime) -> Mapping[str, int]:
    return linking.link(session, of, page, now)


def _settling(turn: Turn, of: Matching) -> Step:
    with turn.db.read() as session:
        ids = list(session.scalars(queries.unsettled(of.run_id, _after(turn), RECORDS)))
    if not ids:
        return Step(phase=RELEASING, position={})
    return Step(position={"after": ids[-1]}, effect=partial(_settled, of, ids))


def _settled(of: Matching, ids: Sequence[str], session: Session, now: dt.datetime) -> Mapping[str, int]:
    return linking.settle(session, of, ids, now)


def _releasing(turn: Turn, of: Matching) -> Step:
    with turn.db.read() as session:
        ids = list(session.scalars(queries.awaiting(of.connection_id, of.entity, _after(turn), RELEASED)))
    if not ids:
        return Step(then="done")
    return Step(position={"after": ids[-1]}, effect=partial(_released, of, ids))


def _released(of: Matching, ids: Sequence[str], session: Session, now: dt.datetime) -> Mapping[str, int]:
    linking.release(session, of, ids, now)
    return {}


_PHASES: Mapping[str, Callable[[Turn, Matching], Step]] = {
    "theirs": _theirs, "ours": _ours, "pairing": _pairing, "judging": _judging, "linking": _linking,
    "settling": _settling, RELEASING: _releasing}


def _next(page: Page[Remote], phase: str, effect: Effect) -> Step:
    if page.complete:
        return Step(phase=phase, position={}, effect=effect)
    return Step(position={"cursor": page.next_cursor}, effect=effect)


def _after(turn: Turn) -> str:
    return str(turn.run.position.get("after", ""))
