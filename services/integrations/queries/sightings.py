"""What was seen at a target, and what we wrote there ourselves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.models import OwnWrite, Sighting
from services.integrations.queries.statements import Asked, built_once, table_of

_SIGHTING, _OWN_WRITE = table_of(Sighting).c, table_of(OwnWrite).c


def of(session: Session, connection_id: str, entity: str, external_ids: Collection[str]) -> dict[str, Any]:
    """Return the last sighting of each of these records that was ever seen."""
    rows = session.execute(*_sighted(connection_id, entity, list(external_ids))).all()
    return {row.external_id: row for row in rows}


def mark(session: Session, place: tuple[str, str, str]) -> tuple[int, str] | None:
    """Return what changes whenever something newer of a record is taken in or written; no clock is asked."""
    connection_id, entity, external_id = place
    row = of(session, connection_id, entity, [external_id]).get(external_id)
    return (row.version, row.remote_version) if row else None


@built_once
def _sighted(connection_id: str, entity: str, external_ids: Collection[str]) -> Asked:
    return sa.select(*_SIGHTING).where(_SIGHTING.connection_id == connection_id, _SIGHTING.entity == entity,
                                       _SIGHTING.external_id.in_(external_ids))


def own_writes(session: Session, connection_id: str, entity: str,
               external_ids: Collection[str]) -> Mapping[str, Mapping[str, dt.datetime]]:
    """Return, for each of these records, the versions that we wrote ourselves and when."""
    found: dict[str, dict[str, dt.datetime]] = {}
    for row in session.execute(*_ours(connection_id, entity, list(external_ids))).all():
        found.setdefault(row.external_id, {})[row.remote_version] = row.at
    return found


@built_once
def _ours(connection_id: str, entity: str, external_ids: Collection[str]) -> Asked:
    return sa.select(*_OWN_WRITE).where(_OWN_WRITE.connection_id == connection_id, _OWN_WRITE.entity == entity,
                                        _OWN_WRITE.external_id.in_(external_ids))
