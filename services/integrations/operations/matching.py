"""Go-live matching in the database: both sides as keyed hashes, joined a stretch of hashes at a time.

A million records on each side make some twenty million keys. They are walked once, in the order of the primary key; no
statement looks at more than a page of them, and a key that too many have (`queries.matching.HELD_MOST`) makes no pairs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from chassis.crypto import Keyring
from hub_adapter.port import Remote
from services.integrations.domain import matching
from services.integrations.domain.matching import Candidate, KnownBy
from services.integrations.models import MatchKey, MatchPair, MatchRemote, Run
from services.integrations.models.matching import OURS, THEIRS
from services.integrations.operations import records
from services.integrations.queries import lanes
from services.integrations.queries import matching as queries
from services.integrations.queries.statements import table_of

HASHED = "match_key.hash"
"""The column under whose key the keys of records are hashed."""
HASH_LENGTH = 22
"""Characters kept of a hash, 128 bits: among a billion keys two are equal by chance once in 10^21."""
FORGOTTEN = 1000
"""Rows that one transaction deletes."""
_KEY, _PAIR, _REMOTE = map(table_of, (MatchKey, MatchPair, MatchRemote))


@dataclass(frozen=True, kw_only=True)
class Matching:
    """What is matched: records of `entity` at a connection, in a run; phones are read by the rules of `region`."""

    run_id: str
    connection_id: str
    entity: str
    region: str


@dataclass(frozen=True)
class Judged:
    """A record of ours with what it is known by, and the records of the target that may be it.

    Attributes:
        too_common: kinds of keys that it has and that count as none, for too many records have them.
    """

    local_id: str
    known_by: KnownBy
    judgement: matching.Judgement
    too_common: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Noted:
    """A record of one side as it is noted: its keys, hashed, and of theirs what is shown of it."""

    id: str
    keys: Sequence[Mapping[str, Any]]
    shown: Mapping[str, Any] | None = None


def noted_theirs(keyring: Keyring, of: Matching, page: Sequence[Remote]) -> list[Noted]:
    """Return a page of the target's listing as it is noted; hashing is no work for a transaction."""
    told = {remote.external_id: matching.known_by(remote.body) if remote.known_by is None else remote.known_by
            for remote in page}
    return [Noted(remote.external_id, _keys(keyring, of, THEIRS, remote.external_id, told[remote.external_id]), {
        "run_id": of.run_id, "external_id": remote.external_id, "active": remote.active,
        "known_by_sealed": keyring.seal(records.canonical(told[remote.external_id]), _aad(of, remote.external_id))})
        for remote in page]


def noted_ours(keyring: Keyring, of: Matching, page: Sequence[Any]) -> list[Noted]:
    """Return a page of `queries.matching.unbound` as it is noted, without records that do not open."""
    states = {row.id: state for row in page if (state := records.opened(keyring, row)) is not None}
    return [Noted(id, _keys(keyring, of, OURS, id, matching.known_by(state | {"id": id})))
            for id, state in states.items()]


def note(session: Session, of: Matching, page: Sequence[Noted]) -> int:
    """Note records, but those of theirs that are bound to ours already; return how many.

    One that a listing tells twice, because rows changed meanwhile, is noted once.
    """
    places = [(of.connection_id, of.entity, one.id) for one in page if one.shown is not None]
    bound = {place[2] for place in lanes.bound_elsewhere(session, places)}
    free = [one for one in page if one.id not in bound]
    _put(session, _REMOTE, [one.shown for one in free if one.shown is not None])
    _put(session, _KEY, [key for one in free for key in one.keys])
    return len(free)


def pair(session: Session, of: Matching, after: str, last: str) -> int:
    """Pair the records of both sides over the hashes after one and up to another; return of how many it told nothing.

    Those are keys that both sides have, and one of them so often that they count as none.
    """
    found = queries.pairs_of_stretch(of.run_id, after, last)
    pairs = _insert(session, _PAIR).from_select([column.name for column in found.selected_columns], found)
    others = sa.case((pairs.excluded.others > _PAIR.c.others, pairs.excluded.others), else_=_PAIR.c.others)
    session.execute(pairs.on_conflict_do_update(index_elements=list(_PAIR.primary_key), set_={"others": others}))
    return int(session.scalar(queries.too_common(of.run_id, after, last)) or 0)


def judge(session: Session, keyring: Keyring, of: Matching, ids: Collection[str]) -> list[Judged]:
    """Return what these records of ours are at the target."""
    candidates = _candidates(session, of, ids)
    known = lanes.records(session, {(of.entity, id) for id in ids})
    states = {row.id: state for row in known.values() if (state := records.opened(keyring, row)) is not None}
    common = queries.saying_nothing(session, of.run_id, ids)
    return [Judged(id, matching.known_by(states[id]), matching.judge(candidates.get(id, ())),
                   frozenset(common.get(id, ()))) for id in ids if id in states]


def shown(session: Session, keyring: Keyring, of: Matching, external_ids: Iterable[str]) -> dict[str, KnownBy]:
    """Return what each of these records of theirs was known by when it was listed."""
    rows = queries.remotes(session, of.run_id, set(external_ids))
    return {id: json.loads(keyring.open(row.known_by_sealed, _aad(of, id))) for id, row in rows.items()}


def forget(session: Session) -> bool:
    """Delete a stretch of what an ended matching has left; return whether there may be more."""
    for table, along in ((_KEY, _KEY.c.hash), (_PAIR, _PAIR.c.local_id), (_REMOTE, _REMOTE.c.external_id)):
        left = sa.select(1).where(table.c.run_id == Run.id).exists()
        run_id = session.scalar(sa.select(Run.id).where(Run.kind == "match", Run.ended_at.is_not(None), left).limit(1))
        if run_id is None:
            continue
        stretch = sa.select(along).where(table.c.run_id == run_id).order_by(along).limit(FORGOTTEN).subquery()
        last = session.scalar(sa.select(sa.func.max(stretch.c[0])))
        session.execute(sa.delete(table).where(table.c.run_id == run_id, along <= last))
        return True
    return False


def _candidates(session: Session, of: Matching, ids: Collection[str]) -> dict[str, list[Candidate]]:
    """Return the candidates of each of these records that has any."""
    paired: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
    for row in session.execute(queries.pairs_of(of.run_id, ids)):
        paired[row.local_id, row.external_id][row.kind] = bool(row.others)
    theirs = {external_id for _local, external_id in paired}
    several = set(session.scalars(queries.wanted_by_several(of.run_id, theirs)))
    ours_tell, theirs_tell = (queries.telling(session, of.run_id, side, some)
                              for side, some in ((OURS, ids), (THEIRS, theirs)))
    listed = queries.remotes(session, of.run_id, theirs)
    found: dict[str, list[Candidate]] = defaultdict(list)
    for (local_id, external_id), kinds in paired.items():
        strong = kinds.keys() & matching.STRONG
        crowded = strong if external_id in several else {kind for kind in strong if kinds[kind]}
        found[local_id].append(Candidate(
            external_id=external_id, shared=frozenset(kinds), crowded=frozenset(crowded),
            against=frozenset(ours_tell[local_id] & theirs_tell[external_id] - kinds.keys()),
            active=listed[external_id].active))
    return found


def _keys(keyring: Keyring, of: Matching, side: str, id: str, told: KnownBy) -> list[dict[str, Any]]:
    return [{"run_id": of.run_id, "hash": keyring.blind(HASHED, f"{key.kind}:{key.value}")[:HASH_LENGTH], "side": side,
             "id": id, "kind": key.kind} for key in matching.keys(told, of.region)]


def _put(session: Session, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        session.execute(_insert(session, table).on_conflict_do_nothing(), list(rows))


def _insert(session: Session, table: sa.Table) -> Any:
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    return sqlite.insert(table) if on_sqlite else postgresql.insert(table)


def _aad(of: Matching, external_id: str) -> str:
    return f"match|{of.run_id}|{external_id}"
