"""What a kind of run is given to go on with one page, and what a kind has to answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy.orm import Session

from chassis.database import Database
from contracts.schema import Request
from hub_adapter.port import Context, Page, Remote
from services.integrations.domain import failures
from services.integrations.engine import calls
from services.integrations.engine.renewals import Renew
from services.integrations.engine.targets import Target, Targets
from services.integrations.models import Connection
from services.integrations.operations.runs import Plan, Step, Taken
from services.integrations.operations.settlements import Failed

T = TypeVar("T")


class CallFailed(Exception):
    """The target did not answer as it should. Let it pass, and the page is tried again once the target can be asked."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.text)
        self.failed = failed


class CannotGoOn(Exception):
    """The run has no sense any more; its text is told to people."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One page of a run, to be gone on with outside any transaction.

    Attributes:
        run: as it stands; `run.position` is where this page begins.
        db: for reads; what is written goes into the step's `effect`.
        region: ISO 3166 country by whose rules a phone number without a prefix is read.
        ends_at: when the page should be over. One that has taken long ends early, with what it has.
    """

    run: Taken
    db: Database
    targets: Targets
    renew: Renew
    clock: Callable[[], dt.datetime]
    deadline_s: float
    region: str
    ends_at: dt.datetime

    @property
    def is_over(self) -> bool:
        """Whether the page should end where it is."""
        return self.clock() >= self.ends_at

    def target(self) -> Target:
        """Return the target of the run's connection.

        Raises:
            Exception: it cannot be used: no adapter, no credential, a broken config.
        """
        with self.db.read() as session:
            return self.targets.usable(session, session.get_one(Connection, self.run.connection_id))

    def ask(self, question: Callable[[Target, Context], T], *, dry_run: bool = False) -> T:
        """Return what the target answers, within its rate and the deadline of a call.

        It is asked once more where its credential only had to be renewed.

        Raises:
            CallFailed: whatever the adapter raised, by its class.
        """
        target = self.target()
        try:
            return self._asked(target, question, dry_run)
        except Exception as error:
            failed = calls.failed_with(target, error)
            fresh = self.renew(target, self.deadline_s) if failed.kind == failures.AUTH else None
            if fresh is None:
                raise CallFailed(failed) from error
        try:
            return self._asked(fresh, question, dry_run)
        except Exception as error:
            raise CallFailed(calls.failed_with(fresh, error)) from error

    def listed(self, cursor: str | None) -> Page[Remote]:
        """Return the next page of the target's list of the entity, which is to come to its end.

        Raises:
            CallFailed: the target did not answer, or the list breaks off or stands still: nothing is concluded from it.
        """
        page = self.ask(partial(_list, self.run.entity, cursor))
        if not page.complete and page.next_cursor in (None, cursor):
            broken = "the listing broke off before it was complete"
            raise CallFailed(Failed(kind=failures.ADAPTER_ERROR, message=broken))
        return page

    def _asked(self, target: Target, question: Callable[[Target, Context], T], dry_run: bool) -> T:
        with target.calling(self.clock, self.deadline_s, lambda exchange: None, dry_run=dry_run) as ctx:
            return question(target, ctx)


def _list(entity: str, cursor: str | None, target: Target, ctx: Context) -> Page[Remote]:
    return target.adapter.list(ctx, entity, cursor, target.adapter.spec.limits.page_size)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A run that somebody, or a schedule, wants; `filter` and `options` are checked."""

    connection: Connection
    entity: str
    filter: Mapping[str, Any]
    options: Mapping[str, Any]
    reason: str


class Kind(Protocol):
    """A module of `engine/runs`."""

    @property
    def Filter(self) -> type[Request]:
        """What may stand in `filter`."""
        ...

    @property
    def Options(self) -> type[Request]:
        """What may stand in `options`."""
        ...

    def plan(self, session: Session, asked: Asked) -> Plan:
        """Return how the run begins.

        Raises:
            HubError: it makes no sense now; the text says what to do first.
        """
        ...

    def advance(self, turn: Turn) -> Step:
        """Go on with one page, and return what it came to; nothing is written before.

        Raises:
            CallFailed: the target could not be asked.
            CannotGoOn: the run has no sense any more.
        """
        ...
