"""A connection: one configured external system."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, aliased, column_property, mapped_column

from chassis.database import Id, Json, UtcDateTime, new_id
from services.integrations.domain.breaker import Breaker
from services.integrations.domain.pauses import ADVICE, Code
from services.integrations.domain.runs import RELEASING, UNFINISHED
from services.integrations.models.base import Base, one_of
from services.integrations.models.route import Route
from services.integrations.models.run import Run


def _broke_off() -> sa.ColumnElement[bool]:
    """Tell of a match that was confirmed and did not come to its end, with no other confirmed since."""
    later = aliased(Run)
    since = sa.select(1).where(later.connection_id == Run.connection_id, later.entity == Run.entity,
                               later.kind == "match", later.id > Run.id, later.approved_by.is_not(None))
    return sa.and_(one_of("run.state", ("failed", "cancelled")), Run.approved_by.is_not(None), ~since.exists())


class Connection(Base):
    """One external system: adapter, settings, limits, and how it is doing.

    What is wanted (`desired_state`) and what is seen (`health`) are never one field. `version` rises when a person
    changes something; the engine's own observations leave it alone.
    """

    __tablename__ = "connection"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    version: Mapped[int] = mapped_column(default=1)
    name: Mapped[str] = mapped_column(sa.String(120), unique=True)
    kind: Mapped[str] = mapped_column(sa.String(20))
    adapter: Mapped[str] = mapped_column(sa.String(60))
    adapter_version: Mapped[str] = mapped_column(sa.String(40))
    guarantee: Mapped[str] = mapped_column(sa.String(20))
    desired_state: Mapped[str] = mapped_column(sa.String(10), default="active")
    health: Mapped[str] = mapped_column(sa.String(16), default="ok")
    pause_reason: Mapped[str | None] = mapped_column(sa.String(500))
    paused_by: Mapped[str | None] = mapped_column(sa.String(80))
    config: Mapped[dict[str, Any]] = mapped_column(Json)
    credential_id: Mapped[str | None] = mapped_column(Id)
    mapping_version: Mapped[int | None]
    """Rises with every change of its mappings and code tables; None while it has had neither."""
    rate_per_s: Mapped[float] = mapped_column(sa.Float)
    burst: Mapped[int]
    max_in_flight: Mapped[int]
    health_version: Mapped[int] = mapped_column(default=0, comment="rises with each announcement of state or health")
    throttled_until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    consecutive_failures: Mapped[int] = mapped_column(default=0)
    first_failure_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    last_success_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    breaker_open_until: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    open_count: Mapped[int] = mapped_column(default=0)
    breaker_window: Mapped[list[list[int]] | None] = mapped_column(
        Json, comment="[slot, calls, failures] of the last minute")
    breaker_opened_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime, comment="since when the target is down")
    breaker_alerts: Mapped[int] = mapped_column(default=0)
    breaker_step: Mapped[int | None] = mapped_column(comment="of the ramp; null unless half open")
    breaker_passed: Mapped[int] = mapped_column(default=0)
    refused_records: Mapped[list[tuple[str, float]] | None] = mapped_column(
        Json, comment="[record, when] refused as invalid since the last success")
    pause_code: Mapped[str | None] = mapped_column(sa.String(20), comment="why the hub paused it by itself")
    setup_version: Mapped[int] = mapped_column(
        default=1, comment="rises with settings and credential; a check is of one such version")
    checked_version: Mapped[int | None]
    checked_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    check_ok: Mapped[bool | None]
    check_message: Mapped[str | None] = mapped_column(sa.String(500))
    check_problems: Mapped[list[dict[str, str]] | None] = mapped_column(Json)
    created_by: Mapped[str] = mapped_column(sa.String(80))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)

    pulled: Mapped[str | None] = column_property(
        sa.select(sa.func.aggregate_strings(Route.entity, ","))
        .where(Route.connection_id == id, Route.state == "active", Route.direction.in_(("pull", "both")))
        .scalar_subquery(), deferred=True, expire_on_flush=False)
    """Entities that are read from there now, between commas. No flush of the connection changes them, nor `matched`."""

    matched: Mapped[str | None] = column_property(
        sa.select(sa.func.aggregate_strings(Run.entity, ","))
        .where(Run.connection_id == id, Run.kind == "match", Run.phase.is_distinct_from(RELEASING),
               sa.or_(one_of("run.state", UNFINISHED), _broke_off()))
        .scalar_subquery(), deferred=True, expire_on_flush=False)
    """Entities of which it is being found out what is there already, between commas: also where a confirmed match broke
    off, as what it did not come to link would be made a second time; not where all that is left is to release."""

    def pulls(self, entity: str) -> bool:
        """Tell whether changes of `entity` come back from there."""
        return entity in (self.pulled or "").split(",")

    def matches(self, entity: str) -> bool:
        """Tell whether nothing of `entity` may be made there now, as it may be there already."""
        return entity in (self.matched or "").split(",")

    @property
    def breaker(self) -> Breaker:
        """What is known of the target, as the rules of the breaker take it."""
        return Breaker(
            failures=self.consecutive_failures, first_failure_at=self.first_failure_at,
            window=tuple((slot[0], slot[1], slot[2]) for slot in self.breaker_window or ()),
            open_until=self.breaker_open_until, opened_at=self.breaker_opened_at, openings=self.open_count,
            step=self.breaker_step, passed=self.breaker_passed, alerts=self.breaker_alerts)

    @breaker.setter
    def breaker(self, now: Breaker) -> None:
        self.consecutive_failures, self.first_failure_at = now.failures, now.first_failure_at
        self.breaker_window = [list(slot) for slot in now.window] or None
        self.breaker_open_until, self.breaker_opened_at, self.open_count = now.open_until, now.opened_at, now.openings
        self.breaker_step, self.breaker_passed, self.breaker_alerts = now.step, now.passed, now.alerts

    @property
    def pause_advice(self) -> Mapping[str, str] | None:
        """What to do about a pause that the hub decided itself: language → sentences."""
        return ADVICE.get(cast("Code", self.pause_code)) if self.pause_code else None

    @property
    def has_credential(self) -> bool:
        """Whether a secret has been put; which one is never told."""
        return self.credential_id is not None

    @property
    def check(self) -> dict[str, Any] | None:
        """What the last check found."""
        if self.checked_at is None:
            return None
        return {"ok": self.check_ok, "message": self.check_message, "problems": self.check_problems or [],
                "checked_at": self.checked_at}
