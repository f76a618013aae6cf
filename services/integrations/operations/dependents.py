"""What waits for another record: let go when that is there, ended when it can never be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.domain import failures
from services.integrations.models import Delivery
from services.integrations.operations.announcements import Settled
from services.integrations.operations.bulk import update_each
from services.integrations.queries import lanes
from services.integrations.queries.statements import built_once, table_of

_DELIVERY = table_of(Delivery)


def awaited(session: Session, wanted: Collection[lanes.Lane]) -> set[lanes.Lane]:
    """Return those of these lanes whose record something waits for."""
    return {_awaited(row) for row in lanes.blocked_on(session, wanted)}


def release(session: Session, bound: Collection[lanes.Lane], now: dt.datetime) -> set[str]:
    """Let go what was blocked on records that are there now; return the connections concerned."""
    waiting = lanes.blocked_on(session, bound, locked=True)
    if waiting:
        session.execute(*_releasing([row.id for row in waiting], now))
    return {row.connection_id for row in waiting}


@built_once
def _releasing(ids: Collection[str], now: dt.datetime) -> sa.Executable:
    return (
        sa.update(_DELIVERY).where(_DELIVERY.c.id.in_(ids))
        .values(state="pending", due_at=now, blocked_entity=None, blocked_id=None, error_class=None, last_error=None)
    )


def _awaited(row: Any) -> lanes.Lane:
    return row.connection_id, row.blocked_entity, row.blocked_id


def end(session: Session, dead: Mapping[lanes.Lane, str], now: dt.datetime) -> list[Settled]:
    """End what waited for records that can no longer come, and what waited for that in turn.

    Args:
        dead: the lane of each such record and why it will not come. One with something open may come yet, and is left.
    """
    ended: list[Settled] = []
    coming = lanes.open_lanes(session, dead)
    dead = {lane: why for lane, why in dead.items() if lane not in coming}
    while dead:
        waiting = lanes.blocked_on(session, dead, locked=True)
        round_ = [
            Settled(id=row.id, lane=(row.connection_id, row.entity, row.local_id), version=row.source_version,
                    state="dead", error_class=failures.DEPENDENCY_MISSING,
                    error=f"{row.blocked_entity} {row.blocked_id} could not be delivered: "
                          f"{dead[_awaited(row)]}"[:1000])
            for row in waiting]
        update_each(session, _DELIVERY, [
            {"id": one.id, "state": "dead", "settled_at": now, "error_class": one.error_class, "last_error": one.error}
            for one in round_], match=("id",))
        ended += round_
        dead = {one.lane: one.error or "" for one in round_}
    return ended
