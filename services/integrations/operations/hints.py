"""Records that a message of a webhook hints at, until the poller has read them as they stand at the target."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.integrations.models import Cursor, Hint
from services.integrations.operations.bulk import Upsert, excluded
from services.integrations.operations.inbound import News
from services.integrations.queries.statements import built_once, table_of

_HINT = table_of(Hint)
_NOTED = Upsert(_HINT, changing={name: excluded(_HINT.c[name]) for name in ("account", "at")})
MOST = 100
"""Records of one cursor that are read before its next page; more wait for the page after."""
WAITING = sa.exists(sa.select(sa.literal(1)).select_from(_HINT).where(
    _HINT.c.connection_id == table_of(Cursor).c.connection_id, _HINT.c.entity == table_of(Cursor).c.entity))
"""Whether any is left to be read of a cursor's connection and entity."""


@dataclass(frozen=True, kw_only=True)
class Noted:
    """A record that is to be read; `at` is when it was hinted at last."""

    external_id: str
    account: str | None
    at: dt.datetime


def note(session: Session, connection_id: str, entity: str, news: Iterable[News], now: dt.datetime) -> None:
    """Note which records have to be read; whoever notes them also makes the cursor due."""
    latest = {one.external_id: one for one in news}
    _NOTED.put(session, [{"connection_id": connection_id, "entity": entity, "external_id": one.external_id,
                          "account": one.account, "at": now} for one in latest.values()])


def waiting(session: Session, connection_id: str, entity: str) -> list[Noted]:
    """Return what is to be read of a cursor, `MOST` at once, the longest noted first."""
    rows = session.execute(*_noted(connection_id, entity)).all()
    return [Noted(external_id=row.external_id, account=row.account, at=row.at) for row in rows]


@built_once
def _noted(connection_id: str, entity: str) -> sa.Select[tuple[str, str | None, dt.datetime]]:
    return (sa.select(_HINT.c.external_id, _HINT.c.account, _HINT.c.at)
            .where(_HINT.c.connection_id == connection_id, _HINT.c.entity == entity).order_by(_HINT.c.at).limit(MOST))


def done(session: Session, connection_id: str, entity: str, hint: Noted) -> None:
    """Forget a hint that was read, unless another message about the same record has come meanwhile."""
    session.execute(_HINT.delete().where(
        _HINT.c.connection_id == connection_id, _HINT.c.entity == entity, _HINT.c.external_id == hint.external_id,
        _HINT.c.at == hint.at))
