"""Which records a route makes at its target: those that its filter lets through, and what those need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from services.integrations.domain.deliveries import DECIDED
from services.integrations.operations import dependents
from services.integrations.operations.bodies import InForce
from services.integrations.queries import lanes


def left_out(session: Session, rows: Sequence[Any], states: Mapping[str, Mapping[str, Any]],
             bound: Mapping[lanes.Lane, Any], sent: Mapping[str, InForce]) -> set[str]:
    """Return, of these deliveries, the ids of those whose records are not to be made there.

    What a record that goes there waits for is made although a filter leaves it out, and what a person decided goes.
    What stands there already is kept up to date: a filter that held it back would let it go stale.

    Args:
        session, rows: the transaction, and deliveries in hand.
        states: delivery → the record's state.
        bound: lane → binding.
        sent: connection → what is in force there.
    """
    refused = {
        (row.connection_id, row.entity, row.local_id): row.id for row in rows
        if row.op == "upsert" and row.origin not in DECIDED and row.id in states and row.connection_id in sent
        and _is_away(bound.get((row.connection_id, row.entity, row.local_id)))
        and not sent[row.connection_id].admits(row.entity, states[row.id])}
    if not refused:
        return set()
    return {refused[lane] for lane in refused.keys() - dependents.awaited(session, list(refused))}


def _is_away(binding: Any) -> bool:
    return binding is None or binding.state in ("unbound", "tombstoned")
