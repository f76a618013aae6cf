"""Whoever settles calls of a connection, sweeps up what was forgotten of it, or takes in what its target tells, holds
the connection's row while at it.

Without that a page could be compared with our writes as they were before a settlement and with the calls under way as
they are after it, and two readers would give two changes of a record one number. The connection is locked before its
cursors, conflicts, deliveries and sightings, everywhere, so that nobody waits in a ring.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer

from services.integrations.models import Connection
from services.integrations.queries.statements import built_once, table_of


def lock(session: Session, connection_ids: Iterable[str]) -> dict[str, Connection]:
    """Return these connections, locked in order until the transaction ends: two processes never count one room twice.

    The lock lets deliveries be inserted meanwhile (`FOR NO KEY UPDATE`).
    """
    return {row.id: row for row in session.scalars(*_locked(sorted(connection_ids)))}


@built_once
def _locked(ids: Collection[str]) -> sa.Select[Connection]:
    return (sa.select(Connection).where(Connection.id.in_(ids)).order_by(Connection.id)
            .options(undefer(Connection.pulled), undefer(Connection.matched))
            .with_for_update(key_share=True, of=table_of(Connection)).execution_options(populate_existing=True))
