"""What became of deliveries, told to operators when it is committed: a line in the log, and a count."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from prometheus_client import Counter, Histogram
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.database import after_commit
from services.integrations.queries.lanes import Lane

log = telemetry.logger(__name__)

SETTLED = Counter("deliveries_settled", "Deliveries that have come to their end, by how.",
                  ["connection", "entity", "state"])
AGE = Histogram(
    "delivery_seconds", "Time from the acceptance of a change to its arrival at the target, all waiting included.",
    ["connection", "entity"], buckets=(.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 28_800, 86_400, 266_400))


class Ended(Protocol):
    """A delivery that has come to its end."""

    @property
    def id(self) -> str: ...
    @property
    def lane(self) -> Lane: ...
    @property
    def state(self) -> str: ...
    @property
    def error_class(self) -> str | None: ...
    @property
    def traceparent(self) -> str: ...
    @property
    def accepted_at(self) -> dt.datetime | None: ...


def settled(session: Session, ended: Sequence[Ended], names: Mapping[str, str], now: dt.datetime) -> None:
    """Tell of ends, once the transaction is committed; `names` are those of the connections."""
    if ended:
        after_commit(session, partial(_tell_settled, list(ended), names, now))


def _tell_settled(ended: Sequence[Ended], names: Mapping[str, str], now: dt.datetime) -> None:
    for one in ended:
        connection_id, entity, local_id = one.lane
        connection = names[connection_id]
        SETTLED.labels(connection, entity, one.state).inc()
        if one.state == "delivered" and one.accepted_at is not None:
            AGE.labels(connection, entity).observe(max((now - one.accepted_at).total_seconds(), 0.0))
        say: Callable[..., Any] = log.error if one.state == "dead" else log.info
        say("delivery_settled", connection=connection, delivery_id=one.id, entity=entity, local_id=local_id,
            state=one.state, error_class=one.error_class, **telemetry.ids_of(one.traceparent))


def deferred(session: Session, connection: str, delivery_id: str, state: str, **ids: Any) -> None:
    """Tell that a call was made and that the delivery is not at its end, once the transaction is committed."""
    after_commit(session, partial(log.warning, "delivery_deferred", connection=connection, delivery_id=delivery_id,
                                  state=state, **ids))
