"""How the connections stand, read when somebody scrapes: open work by state, its age, how each target is doing, and how
far it was from what it should have when both sides were compared last."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from chassis.database import utcnow
from chassis.gauges import Gauge, Gauges, Sample
from contracts.connections import DESIRED_STATES, HEALTH
from contracts.errors import Unavailable
from services.integrations.domain.deliveries import OPEN, State
from services.integrations.domain.reconciliation import drift
from services.integrations.models import Connection, Delivery, Route, Run
from services.integrations.queries.statements import table_of

_CONNECTION, _DELIVERY, _ROUTE, _RUN = (table_of(model).c for model in (Connection, Delivery, Route, Run))
COUNTED: tuple[State, ...] = (*OPEN, "dead")
"""States that are counted. The others only grow, and a count of everything that was ever delivered is not cheap."""


class ConnectionGauges(Gauges):
    """What is open for each connection, and how it is doing."""

    told = (
        Gauge("sync_lag_seconds", "How far a target is behind: the age of its oldest open delivery, or the time "
                                  "since its calls began to fail if that is longer; 0 when nothing is open.",
              ("connection",)),
        Gauge("backlog_deliveries", "Deliveries that are not settled, and those that are dead, were not sent again "
                                    "and wait for a person, by state.", ("connection", "state")),
        Gauge("connection_state", "1 for what is wanted of the connection.", ("connection", "adapter", "state")),
        Gauge("connection_health", "1 for what is seen of the connection.", ("connection", "adapter", "health")),
        Gauge("connection_last_success_timestamp_seconds", "When a call of the connection last succeeded (Unix time); "
                                                           "absent before the first.", ("connection",)),
    )

    def read(self) -> Iterator[Sample]:
        """Read them in one statement; nothing while the database is away."""
        try:
            with self._runtime.db.read() as session:
                rows = session.execute(standing()).all()
        except Unavailable:
            return
        now = utcnow()
        for row in rows:
            yield "sync_lag_seconds", (row.name,), _lag(row, now)
            for state in COUNTED:
                yield "backlog_deliveries", (row.name, state), float(getattr(row, f"count_{state}"))
            for wanted in DESIRED_STATES:
                yield "connection_state", (row.name, row.adapter, wanted), float(row.desired_state == wanted)
            for health in HEALTH:
                yield "connection_health", (row.name, row.adapter, health), float(row.health == health)
            if row.last_success_at is not None:
                yield "connection_last_success_timestamp_seconds", (row.name,), row.last_success_at.timestamp()


def standing() -> sa.Select[Any]:
    """Select every connection with its deliveries: how many of each state, and the oldest of each that is open.

    Each is asked for by itself, which one index answers; grouped, all waiting rows would be read and sorted.
    """
    def of(state: str, asked: Any) -> Any:
        return sa.select(asked).where(_DELIVERY.connection_id == _CONNECTION.id, _DELIVERY.state == state)

    oldest = [of(state, _DELIVERY.created_at).order_by(_DELIVERY.id).limit(1).scalar_subquery()
              .label(f"oldest_{state}") for state in OPEN]
    again = table_of(Delivery).alias("again").c
    sent_again = sa.select(1).where(again.replay_of == _DELIVERY.id, again.replay_of.is_not(None),
                                    sa.text("again.state <> 'cancelled'")).exists()
    counted = {state: of(state, sa.func.count()) for state in COUNTED}
    counted["dead"] = counted["dead"].where(~sent_again)
    counts = [asked.scalar_subquery().label(f"count_{state}") for state, asked in counted.items()]
    return sa.select(_CONNECTION.id, _CONNECTION.name, _CONNECTION.adapter, _CONNECTION.desired_state,
                     _CONNECTION.health, _CONNECTION.last_success_at, _CONNECTION.first_failure_at, *oldest, *counts)


def _lag(row: Any, now: dt.datetime) -> float:
    # A record that changes all the time has a young delivery, however long the target has been away.
    since = [at for at in (getattr(row, f"oldest_{state}") for state in OPEN) if at is not None]
    if since and row.first_failure_at is not None:
        since.append(row.first_failure_at)
    return max((now - min(since)).total_seconds(), 0.0) if since else 0.0


class ReconciliationGauges(Gauges):
    """When both sides of each entity were compared last, and what that found."""

    told = (
        Gauge("reconciliation_drift_ratio", "Records that the last complete reconciliation found otherwise at the "
                                            "target than here, of those that it compared.", ("connection", "entity")),
        Gauge("reconciliation_last_complete_timestamp_seconds", "When a reconciliation was complete last (Unix time); "
                                                                "before the first, when one was asked for.",
              ("connection", "entity")),
        Gauge("reconciliation_interval_seconds", "How long after one the next begins; absent if none does by itself.",
              ("connection", "entity")),
    )

    def read(self) -> Iterator[Sample]:
        """Read them in one statement; nothing while the database is away."""
        try:
            with self._runtime.db.read() as session:
                rows = session.execute(reconciled()).all()
        except Unavailable:
            return
        for row in rows:
            labels = row.name, row.entity
            if row.state == "completed":
                yield "reconciliation_drift_ratio", labels, drift(row.counts)
            yield "reconciliation_last_complete_timestamp_seconds", labels, (
                row.ended_at if row.state == "completed" else row.created_at).timestamp()
            if every_h := row.options.get("every_h"):
                yield "reconciliation_interval_seconds", labels, 3600.0 * every_h


def reconciled() -> sa.Select[Any]:
    """Select, for each active route, the last reconciliation that was complete, or the first if none was."""
    of_route = (sa.select(_RUN.id).where(_RUN.connection_id == _ROUTE.connection_id, _RUN.entity == _ROUTE.entity,
                                         _RUN.kind == "reconcile").correlate(table_of(Route)).limit(1))
    last = of_route.where(_RUN.state == "completed").order_by(_RUN.id.desc()).scalar_subquery()
    first = of_route.order_by(_RUN.id).scalar_subquery()
    shown = table_of(Run).alias("shown").c
    return (sa.select(_CONNECTION.name, _ROUTE.entity, shown.state, shown.counts, shown.options, shown.created_at,
                      shown.ended_at)
            .join(table_of(Route), _ROUTE.connection_id == _CONNECTION.id)
            .join(shown.id.table, shown.id == sa.func.coalesce(last, first)).where(_ROUTE.state == "active"))
