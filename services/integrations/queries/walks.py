"""Walking over all records of an entity, a page at a time, by primary key: a million are as many pages, no more."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.domain.deliveries import BACKGROUND, CLAIMABLE
from services.integrations.models.base import one_of
from services.integrations.queries.statements import Asked, built_once
from services.integrations.queries.tables import CONNECTION, DELIVERY, RECORD, ROUTE


def count(session: Session, entity: str) -> int:
    """Return how many records of an entity there are."""
    return int(session.execute(sa.select(sa.func.count()).where(RECORD.entity == entity)).scalar_one())


def ids_after(session: Session, entity: str, after: str, limit: int) -> list[str]:
    """Return the ids of the next records of an entity, in order."""
    return list(session.execute(*_ids_after(entity, after, limit)).scalars())


@built_once
def _ids_after(entity: str, after: str, limit: int) -> sa.Select[Any]:
    return sa.select(RECORD.id).where(RECORD.entity == entity, RECORD.id > after).order_by(RECORD.id).limit(limit)


@built_once
def locked(entity: str, ids: Collection[str]) -> Asked:
    """Select these records, in order, locked until the transaction ends: no event of theirs is taken in meanwhile."""
    return sa.select(*RECORD).where(RECORD.entity == entity, RECORD.id.in_(ids)).order_by(RECORD.id).with_for_update()


def waiting(session: Session, connection_id: str, most: int) -> int:
    """Return how many deliveries wait at a connection behind those of events, counting up to `most`."""
    return int(session.execute(*_waiting(connection_id, most)).scalar_one())


@built_once
def _waiting(connection_id: str, most: int) -> Asked:
    some = sa.select(DELIVERY.id).where(DELIVERY.connection_id == connection_id, DELIVERY.priority == BACKGROUND,
                                        one_of("delivery.state", CLAIMABLE)).limit(most)
    return sa.select(sa.func.count()).select_from(some.subquery())


def is_pushed(session: Session, connection_id: str, entity: str) -> bool:
    """Tell whether an active route carries an entity to a connection that is not stopped."""
    pushing = (sa.select(ROUTE.id).join(CONNECTION.id.table, CONNECTION.id == ROUTE.connection_id)
               .where(ROUTE.connection_id == connection_id, ROUTE.entity == entity, ROUTE.state == "active",
                      ROUTE.direction.in_(("push", "both")), CONNECTION.desired_state != "stopped"))
    return session.execute(pushing).first() is not None
