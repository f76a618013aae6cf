"""What a reconciliation asks: what the target has listed, what looked wrong in it, and what keeps a record out of it.

However many records there are, each of these reads what a page does.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.models import Conflict, Cursor, Delivery, Finding, Listed, Suspected
from services.integrations.queries.statements import Asked, built_once, table_of

_CONFLICT, _CURSOR, _DELIVERY, _LISTED, _SUSPECTED = (
    table_of(model).c for model in (Conflict, Cursor, Delivery, Listed, Suspected))

COPIES_MOST = 20
"""Copies of one record that are told: of a target that has it more often, later runs tell of the others."""


def newest_deliveries(session: Session, connection_id: str, entity: str, ids: Collection[str]) -> dict[str, Any]:
    """Return the last delivery that is remembered of each record, by its id."""
    return {row.local_id: row for row in session.execute(*_newest(connection_id, entity, list(ids)))}


@built_once
def _newest(connection_id: str, entity: str, ids: Collection[str]) -> Asked:
    later = table_of(Delivery).alias("later").c
    overtaken = sa.select(1).where(later.local_id == _DELIVERY.local_id, later.id > _DELIVERY.id,
                                   later.connection_id == _DELIVERY.connection_id,
                                   later.entity == _DELIVERY.entity).exists()
    return (sa.select(_DELIVERY.local_id, _DELIVERY.op, _DELIVERY.state, _DELIVERY.origin, _DELIVERY.source_version)
            .where(_DELIVERY.local_id.in_(ids), _DELIVERY.connection_id == connection_id, _DELIVERY.entity == entity,
                   ~overtaken))


def disputed(session: Session, connection_id: str, entity: str, external_ids: Collection[str]) -> set[str]:
    """Return those of their ids of which a person is deciding a conflict."""
    return set(session.execute(*_disputed(connection_id, entity, list(external_ids))).scalars())


@built_once
def _disputed(connection_id: str, entity: str, external_ids: Collection[str]) -> Asked:
    return (sa.select(_CONFLICT.external_id)
            .where(_CONFLICT.connection_id == connection_id, _CONFLICT.entity == entity,
                   _CONFLICT.external_id.in_(external_ids), sa.text("conflict.state = 'open'")))


def is_dismissed(session: Session, connection_id: str, entity: str, external_id: str, code: str) -> bool:
    """Tell whether a person has decided to leave such a thing as it is."""
    asked = sa.select(1).where(
        _CONFLICT.connection_id == connection_id, _CONFLICT.entity == entity, _CONFLICT.external_id == external_id,
        _CONFLICT.code == code, _CONFLICT.resolution == "dismissed")
    return session.execute(asked.limit(1)).first() is not None


def read_since(session: Session, connection_id: str, entity: str, moment: dt.datetime) -> bool:
    """Tell whether the changes that people made there before `moment` have been read."""
    asked = sa.select(1).where(_CURSOR.connection_id == connection_id, _CURSOR.entity == entity,
                               _CURSOR.last_success_at >= moment, ~_CURSOR.first_pass)
    return session.execute(asked).first() is not None


def unread_because(session: Session, connection_id: str, entity: str) -> str | None:
    """Return how the last poll failed; None if it did not."""
    found: str | None = session.scalar(sa.select(_CURSOR.last_error).where(
        _CURSOR.connection_id == connection_id, _CURSOR.entity == entity))
    return found


# --- the listing --------------------------------------------------------------------------------------------------


def listed_as(session: Session, run_id: str, *, external_ids: Collection[str], own_keys: Collection[str]) -> list[Any]:
    """Return the listed rows that have one of these ids, or carry one of these keys."""
    found: dict[int, Any] = {}
    for rows in (session.execute(*by_external(run_id, list(external_ids))),
                 session.execute(*by_own_key(run_id, list(own_keys)))):
        found |= {row.n: row for row in rows}
    return list(found.values())


@built_once
def by_external(run_id: str, external_ids: Collection[str]) -> Asked:
    """Select the listed rows with these ids."""
    return sa.select(*_LISTED).where(_LISTED.run_id == run_id, _LISTED.external_id.in_(external_ids))


@built_once
def by_own_key(run_id: str, own_keys: Collection[str]) -> Asked:
    """Select the listed rows that carry these keys."""
    return sa.select(*_LISTED).where(_LISTED.run_id == run_id, _LISTED.own_key.in_(own_keys))


def copies(session: Session, run_id: str, contents: Collection[str]) -> list[Any]:
    """Return the listed rows that are bound to nothing and have one of these contents, `COPIES_MOST` of each."""
    found: dict[str, list[Any]] = {content: [] for content in contents}
    for row in session.execute(*_copies(run_id, list(contents), COPIES_MOST * len(found))):
        if row.own_key is None and len(found[row.content]) < COPIES_MOST:
            found[row.content].append(row)
    return [row for rows in found.values() for row in rows]


@built_once
def _copies(run_id: str, contents: Collection[str], most: int) -> Asked:
    # Not `own_key IS NULL`: a planner would walk the index of the keys, where most of what is not ours has none.
    return sa.select(*_LISTED).where(_LISTED.run_id == run_id, _LISTED.content.in_(contents),
                                     _LISTED.local_id.is_(None)).limit(most)


def suspects(session: Session, run_id: str, limit: int) -> list[Any]:
    """Return the first of what looks wrong."""
    return list(session.execute(*_suspects(run_id, limit)))


@built_once
def _suspects(run_id: str, limit: int) -> Asked:
    return sa.select(*_SUSPECTED).where(_SUSPECTED.run_id == run_id).order_by(_SUSPECTED.id).limit(limit)


def decided(session: Session, run_id: str, limit: int) -> list[Finding]:
    """Return the next findings of a run that something is to be done about."""
    return list(session.scalars(sa.select(Finding).where(Finding.run_id == run_id, Finding.state == "decided")
                                .order_by(Finding.id).limit(limit)))
