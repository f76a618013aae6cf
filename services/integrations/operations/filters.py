"""Which records a route makes at its target: those that its filter lets through, and what those need."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from services.integrations.domain.bindings import is_away
from services.integrations.domain.deliveries import DECIDED
from services.integrations.operations import dependents
from services.integrations.operations.jobs import Leased


def left_out(session: Session, leased: Sequence[Leased]) -> set[str]:
    """Return, of these deliveries, the ids of those whose records are not to be made there.

    What a record that goes there waits for is made although a filter leaves it out, and what a person decided goes.
    What stands there already is kept up to date: a filter that held it back would let it go stale.
    """
    refused = {
        one.lane: one.row.id for one in leased
        if one.row.op == "upsert" and one.row.origin not in DECIDED and one.state is not None and one.sent is not None
        and is_away(one.binding) and not one.sent.admits(one.row.entity, one.state)}
    if not refused:
        return set()
    return {refused[lane] for lane in refused.keys() - dependents.awaited(session, list(refused))}
