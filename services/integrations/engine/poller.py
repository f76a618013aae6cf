"""The poller: asks targets for their changes, a page at a time, and never loses or repeats one.

Before the pages it reads what messages of webhooks have hinted at: so that costs the target no more than it allows.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from chassis import telemetry, tracing
from chassis.database import Database, utcnow
from contracts.errors import Unavailable
from hub_adapter.port import Change, Context, Page, Remote
from services.integrations.domain import failures
from services.integrations.engine.asking import CallFailed, Question, ask
from services.integrations.engine.leaseholders import Leaseholder
from services.integrations.engine.renewals import Renew
from services.integrations.engine.targets import Target, Targets
from services.integrations.models import Connection
from services.integrations.operations import hints, pulls
from services.integrations.operations.hints import Noted
from services.integrations.operations.inbound import GONE, News, Reading
from services.integrations.operations.outcomes import Failed
from services.integrations.operations.pulls import Pull
from services.integrations.settings import IntegrationsSettings

log = telemetry.logger(__name__)
T = TypeVar("T")

AT_ONCE = 4
"""Targets that this process reads from at once; a slow one keeps none of the others waiting for long."""
OF_ONE_RECORD = (failures.INVALID, failures.NOT_FOUND, failures.GONE, failures.ADAPTER_ERROR)
"""Failures of a record that was hinted at for which the others do not wait; the pages tell of it if they can."""


class Poller(Leaseholder[Pull]):
    """Reads the changes of every active pull route."""

    def __init__(self, db: Database, targets: Targets, settings: IntegrationsSettings, owner: str, renew: Renew,
                 clock: Callable[[], dt.datetime] = utcnow, chance: Callable[[], float] = random.random) -> None:
        super().__init__("poll", AT_ONCE, owner, settings.lease_s, clock)
        self._db, self._targets, self._settings = db, targets, settings
        self._renew, self._chance = renew, chance
        self._patience: dict[tuple[str, str, str, str], dt.datetime] = {}

    def _take(self, room: int, now: dt.datetime) -> Sequence[Pull]:
        """Lease cursors whose poll is due."""
        with self._db.read() as session:
            if not pulls.any_due(session, now):
                return []
        with self._db.write() as session:
            return pulls.claim(session, room, self._lease(now), now)

    def _work(self, pull: Pull) -> None:
        """Read, in a trace of its own: what is told there has no request that it comes from."""
        with tracing.root(f"pull {pull.entity}", "internal", hub__connection_id=pull.connection_id) as span, \
                telemetry.about(traceparent=span.traceparent):
            self._read(pull)

    def _read(self, pull: Pull) -> None:
        """Read pages until there are no more, on a worker's thread."""
        try:
            target = self._target(pull)
            if target is None or not self._read_hinted(target, pull):
                return
            while not self._stopping:
                since = self._clock()
                page = self._page(target, pull)
                if page is None or self._take_in(pull, page, since):
                    return
                pull = replace(pull, checkpoint=page.next_cursor)
        except (pulls.LeaseLost, Unavailable) as error:
            log.warning("poll_given_up", connection_id=pull.connection_id, entity=pull.entity, reason=str(error))
        except Exception as error:
            # A page that is not what the port asks for: say so on the cursor, and let it go.
            log.error("poll_broken", connection_id=pull.connection_id, entity=pull.entity, error=type(error).__name__)
            self._fail(pull, Failed(kind=failures.ADAPTER_ERROR, message=f"{type(error).__name__} in a page"))

    def _target(self, pull: Pull) -> Target | None:
        """Return the target, or None after recording why it cannot be used."""
        try:
            with self._db.read() as session:
                return self._targets.usable(session, session.get_one(Connection, pull.connection_id))
        except Unavailable:
            raise
        except Exception as error:
            log.error("connection_unusable", connection_id=pull.connection_id, error=type(error).__name__,
                      reason=str(error)[:300])
            self._fail(pull, Failed(kind=failures.ADAPTER_ERROR, message=f"{type(error).__name__}: {error}"[:300]))
            return None

    def _fail(self, pull: Pull, failed: Failed) -> None:
        with self._db.write() as session:
            pulls.fail(session, pull, failed.kind, failed.text, self._clock(), self._chance,
                       retry_after_s=failed.retry_after_s, answered=failed.http_status is not None)

    def _read_hinted(self, target: Target, pull: Pull) -> bool:
        """Read each record that was hinted at; return False if the target fails, which is recorded."""
        with self._db.read() as session:
            waiting = hints.waiting(session, pull.connection_id, pull.entity)
        for hint in waiting:
            since = self._clock()
            try:
                news = self._asked(target, partial(_hinted, pull.entity, hint))
            except CallFailed as error:
                if error.failed.kind not in OF_ONE_RECORD:
                    self._failed(pull, error.failed)
                    return False
                log.error("hint_not_read", connection_id=pull.connection_id, entity=pull.entity,
                          reason=error.failed.message)
                news = None
            now = self._clock()
            reading = Reading(since=since, now=now, patience=self._patience, first=pull.first_pass)
            with self._db.write() as session:
                pulls.take_in_hinted(session, pull, hint, news, reading, lease_until=self._lease(now).until)
            if self._stopping:
                return False
        return True

    def _page(self, target: Target, pull: Pull) -> Page[Change] | None:
        """Return the next page, or None after recording why it could not be had."""
        def page(target: Target, ctx: Context) -> Page[Change]:
            return target.adapter.changes(ctx, pull.entity, pull.checkpoint, target.adapter.spec.limits.page_size)

        try:
            return self._asked(target, page)
        except CallFailed as error:
            self._failed(pull, error.failed)
            return None

    def _failed(self, pull: Pull, failed: Failed) -> None:
        log.warning("poll_failed", connection_id=pull.connection_id, entity=pull.entity, kind=failed.kind,
                    reason=failed.message)
        self._fail(pull, failed)

    def _asked(self, target: Target, question: Question[T]) -> T:
        return ask(target, question, self._renew, self._clock, self._settings.call_deadline_s)

    def _take_in(self, pull: Pull, page: Page[Change], since: dt.datetime) -> bool:
        """Record a page that was asked for at `since`; return whether nothing more is to be read now."""
        now = self._clock()
        later = now + dt.timedelta(seconds=self._settings.poll_every_s)
        with self._db.write() as session:
            told = pulls.take_in(session, pull, [news_of(change) for change in page.items], page.next_cursor,
                                 Reading(since=since, now=now, patience=self._patience, first=pull.first_pass),
                                 next_due=later,
                                 lease_until=None if page.complete else self._lease(now).until)
        if told.announced or told.held:
            log.info("changes_told", connection_id=pull.connection_id, entity=pull.entity, count=told.announced,
                     held=len(told.held))
        return page.complete or bool(told.held)


def news_of(change: Change) -> News:
    """Return a change as the engine takes it in."""
    return News(external_id=change.external_id, version=change.version, record=change.body,
                deleted=change.op == "delete", changed_at=change.changed_at, account=change.account)


def _hinted(entity: str, hint: Noted, target: Target, ctx: Context) -> News:
    """Return a record as it stands at the target; one that is not there was deleted."""
    remote: Remote | None = target.adapter.get(ctx, entity, hint.external_id)
    if remote is None:
        return News(external_id=hint.external_id, version=GONE, record={}, deleted=True, account=hint.account)
    return News(external_id=hint.external_id, version=remote.version or GONE, record=remote.body, account=hint.account)
