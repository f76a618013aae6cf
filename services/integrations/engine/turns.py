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
from services.integrations.engine.asking import CallFailed, Question, ask
from services.integrations.engine.renewals import Renew
from services.integrations.engine.targets import Target, Targets
from services.integrations.models import Connection
from services.integrations.operations import runs
from services.integrations.operations.outcomes import Failed
from services.integrations.operations.runs import Plan, Step, Taken

T = TypeVar("T")


class CannotGoOn(Exception):
    """The run has no sense any more; its text is told to people."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One page of a run, to be gone on with outside any transaction.

    Attributes:
        run: as it stands; `run.position` is where this page begins.
        db: for reads; what is written goes into the step's `effect`.
        region: ISO 3166 country by whose rules a phone number without a prefix is read.
        lease_s: how long the run is ours from a renewal on; it is renewed before a call at a third of it.
        ends_at: when the page should be over. One that has taken long ends early, with what it has.
    """

    run: Taken
    db: Database
    targets: Targets
    renew: Renew
    clock: Callable[[], dt.datetime]
    deadline_s: float
    region: str
    lease_s: float
    ends_at: dt.datetime

    @property
    def is_over(self) -> bool:
        """Whether the page should end where it is."""
        return self.clock() >= self.ends_at

    def target(self) -> Target:
        """Return the target of the run's connection, to be called once while the run is surely ours.

        Raises:
            LeaseLost: the run was cancelled in the midst of the page, or another process goes on with it.
            Exception: it cannot be used: no adapter, no credential, a broken config.
        """
        with self.db.read() as session:
            until = runs.held_until(session, self.run)
            target = self.targets.usable(session, session.get_one(Connection, self.run.connection_id))
        now = self.clock()
        if until - now < dt.timedelta(seconds=self.lease_s * 2 / 3):
            with self.db.write() as session:
                runs.hold(session, self.run, now + dt.timedelta(seconds=self.lease_s))
        return target

    def ask(self, question: Question[T], *, dry_run: bool = False) -> T:
        """Return what the target answers.

        Raises:
            CallFailed: it did not answer. Let it pass, and the page is tried again once the target can be asked.
        """
        return ask(self.target(), question, self.renew, self.clock, self.deadline_s, dry_run=dry_run)

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
