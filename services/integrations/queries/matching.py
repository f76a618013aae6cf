"""What go-live matching asks: stretches of hashes, pages of records; each has an index, none grows with the whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.domain import failures
from services.integrations.domain.matching import STRONG, TELLING_APART
from services.integrations.models import Finding, MatchKey, MatchPair, MatchRemote
from services.integrations.models.base import one_of
from services.integrations.models.matching import OURS, THEIRS
from services.integrations.queries.statements import Asked, built_once, table_of
from services.integrations.queries.tables import BINDING, DELIVERY, RECORD

FINDING, KEY, PAIR, REMOTE = (table_of(model).c for model in (Finding, MatchKey, MatchPair, MatchRemote))
_INDEXED = one_of("match_key.kind", sorted(STRONG))
PAIRED_MOST = 20
"""Records of theirs that one key of ours is paired with; beyond them nobody looks, and it is doubtful anyway."""
HELD_MOST = 100
"""Records of one side that may have a key. One that more have, such as the phone number that is typed in where there is
none, says nothing of whom it belongs to: it is as if nobody had it."""
UNDER_WAY = "creating"
"""State of a binding whose record is being made at the target: it will be bound without matching. So will one in doubt
whose delivery is in flight; what was given up in doubt may be there, and a match can tell."""


@built_once
def unbound(connection_id: str, entity: str, after: str, limit: int) -> Asked:
    """Select the next records of ours that nothing at the target is bound to, and that are not being made there."""
    taken = sa.select(1).where(
        BINDING.connection_id == connection_id, BINDING.entity == entity, BINDING.local_id == RECORD.id,
        sa.or_(BINDING.external_id.is_not(None), BINDING.state == UNDER_WAY)).exists()
    return (sa.select(RECORD.entity, RECORD.id, RECORD.state_sealed)
            .where(RECORD.entity == entity, RECORD.id > after, ~RECORD.deleted, ~taken)
            .order_by(RECORD.id).limit(limit))


def last_of_stretch(run_id: str, after: str, limit: int) -> Asked:
    """Select the last of the next `limit` hashes of a run."""
    stretch = (sa.select(KEY.hash).where(KEY.run_id == run_id, KEY.hash > after)
               .distinct().order_by(KEY.hash).limit(limit).subquery())
    return sa.select(sa.func.max(stretch.c.hash))


def pairs_of_stretch(run_id: str, after: str, last: str) -> Asked:
    """Select the pairs that the hashes after one and up to another make, each kind of key once."""
    def side(name: str) -> sa.Subquery:
        of_hash: dict[str, Any] = {"partition_by": KEY.hash}
        return (sa.select(KEY.hash, KEY.id, KEY.kind, sa.func.count().over(**of_hash).label("many"),
                          sa.func.row_number().over(**of_hash, order_by=KEY.id).label("n"))
                .where(KEY.run_id == run_id, KEY.side == name, KEY.hash > after, KEY.hash <= last).subquery(name))

    ours, theirs = side(OURS), side(THEIRS)
    others = sa.case((sa.or_(ours.c.many > 1, theirs.c.many > 1), 1), else_=0)
    return (sa.select(sa.literal(run_id).label("run_id"), ours.c.id.label("local_id"),
                      theirs.c.id.label("external_id"), ours.c.kind, sa.func.max(others).label("others"))
            .join(theirs, theirs.c.hash == ours.c.hash)
            .where(ours.c.many <= HELD_MOST, theirs.c.many <= HELD_MOST, theirs.c.n <= PAIRED_MOST)
            .group_by(ours.c.id, theirs.c.id, ours.c.kind))


def too_common(run_id: str, after: str, last: str) -> Asked:
    """Count the keys of a stretch of hashes that both sides have, and one of them too often; no near name counts."""
    held = [sa.func.count().filter(KEY.side == side) for side in (OURS, THEIRS)]
    keys = (sa.select(KEY.hash).group_by(KEY.hash)
            .where(KEY.run_id == run_id, KEY.hash > after, KEY.hash <= last, KEY.kind != "near_name")
            .having(*(many > 0 for many in held), sa.or_(*(many > HELD_MOST for many in held))))
    return sa.select(sa.func.count()).select_from(keys.subquery())


def next_ours(run_id: str, after: str, limit: int) -> Asked:
    """Select the next ids of ours: each record has its own id as a key."""
    of_ours = (_INDEXED, KEY.run_id == run_id, KEY.side == OURS, KEY.kind == "code")
    return sa.select(KEY.id).where(*of_ours, KEY.id > after).order_by(KEY.id).limit(limit)


def pairs_of(run_id: str, ids: Collection[str]) -> Asked:
    """Select the pairs of these records of ours."""
    return sa.select(*PAIR).where(PAIR.run_id == run_id, PAIR.local_id.in_(ids))


def wanted_by_several(run_id: str, external_ids: Collection[str]) -> Asked:
    """Select those of these records of theirs that share strong keys with more than one of ours."""
    return (sa.select(PAIR.external_id)
            .where(PAIR.run_id == run_id, PAIR.external_id.in_(external_ids), PAIR.kind.in_(sorted(STRONG)))
            .group_by(PAIR.external_id).having(sa.func.min(PAIR.local_id) != sa.func.max(PAIR.local_id)))


def telling(session: Session, run_id: str, side: str, ids: Collection[str]) -> dict[str, set[str]]:
    """Return, by record, which kinds of keys that tell records apart it has."""
    return _kinds(session, strong_of(run_id, side, ids).where(KEY.kind.in_(sorted(TELLING_APART)), ~_too_common()))


def saying_nothing(session: Session, run_id: str, ids: Collection[str]) -> dict[str, set[str]]:
    """Return, by record of ours, of which kinds it has strong keys that count as none."""
    return _kinds(session, strong_of(run_id, OURS, ids).where(_too_common()))


def strong_of(run_id: str, side: str, ids: Collection[str]) -> Asked:
    """Select (id, kind) of the strong keys of these records."""
    return sa.select(KEY.id, KEY.kind).distinct().where(
        _INDEXED, KEY.run_id == run_id, KEY.side == side, KEY.kind.in_(sorted(STRONG)), KEY.id.in_(ids))


def _too_common() -> sa.ColumnElement[bool]:
    """Tell of a key whether more than `HELD_MOST` records of a side have it; no more of them are looked at."""
    other = table_of(MatchKey).alias("other").c
    return sa.or_(*(
        sa.select(1).where(other.run_id == KEY.run_id, other.hash == KEY.hash, other.side == side)
        .limit(1).offset(HELD_MOST).exists() for side in (OURS, THEIRS)))


def _kinds(session: Session, asked: Asked) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for id, kind in session.execute(asked):
        found[id].add(kind)
    return found


def remotes(session: Session, run_id: str, external_ids: Collection[str]) -> dict[str, Any]:
    """Return these records of theirs as they were listed."""
    asked = sa.select(*REMOTE).where(REMOTE.run_id == run_id, REMOTE.external_id.in_(external_ids))
    return {row.external_id: row for row in session.execute(asked)}


def only_theirs(session: Session, run_id: str) -> int:
    """Count the records of the target that no record of ours shares a key with."""
    paired = sa.select(1).where(PAIR.run_id == run_id, PAIR.external_id == REMOTE.external_id).exists()
    return int(session.scalar(sa.select(sa.func.count()).where(REMOTE.run_id == run_id, ~paired)) or 0)


def unsettled(run_id: str, after: str, limit: int) -> Asked:
    """Select the next findings of a run that linking has not dealt with."""
    return (sa.select(FINDING.id).where(FINDING.run_id == run_id, FINDING.id > after,
                                        sa.or_(FINDING.state != "done", FINDING.decision != "link"))
            .order_by(FINDING.id).limit(limit))


def awaiting(connection_id: str, entity: str, after: str, limit: int) -> Asked:
    """Select the next deliveries that wait for a matching to come to its end."""
    return (sa.select(DELIVERY.id)
            .where(DELIVERY.error_class == failures.AWAITING_MATCH, DELIVERY.id > after,
                   DELIVERY.connection_id == connection_id, DELIVERY.entity == entity, DELIVERY.state == "retry_wait")
            .order_by(DELIVERY.id).limit(limit))
