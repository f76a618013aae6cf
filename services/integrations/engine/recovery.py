"""A target that is down: seeing whether it answers again, and what is to be told of it meanwhile."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from chassis import telemetry
from chassis.database import Database
from contracts.errors import Unavailable
from services.integrations.domain import failures
from services.integrations.engine import calls
from services.integrations.engine.renewals import Renew
from services.integrations.engine.targets import Target, Targets
from services.integrations.models import Connection
from services.integrations.operations import health
from services.integrations.operations.health import Seen

log = telemetry.logger(__name__)

_NOT_THERE = (failures.TRANSIENT, failures.AMBIGUOUS, failures.RATE_LIMITED, failures.ADAPTER_ERROR)
ENDS_WITHIN_S = 10.0
"""Beyond its deadline a check is taken to be lost with its process, and made anew."""


@dataclass(frozen=True)
class Recovery:
    """Checks targets that are down, one worker at a time over all processes."""

    db: Database
    targets: Targets
    renew: Renew
    deadline_s: float
    clock: Callable[[], dt.datetime]
    wake: Callable[[list[str]], None]

    def check(self, connection_id: str) -> None:
        """See whether a target answers again: half open if it does, later again if not."""
        try:
            now = self.clock()
            until = now + dt.timedelta(seconds=self.deadline_s + ENDS_WITHIN_S)
            with self.db.write() as session:
                if not health.begin_check(session, connection_id, until, now):
                    return
            seen, reachable = self._asked(connection_id)
            with self.db.write() as session:
                health.end_check(session, seen, self.clock(), reachable=reachable)
        except Unavailable as error:
            log.warning("check_waits", connection_id=connection_id, reason=error.message)
            return
        if reachable:
            self.wake([connection_id])

    def tend(self, connection_id: str) -> None:
        """Give an alert that is due; close a connection that is half open and has had nothing to do."""
        with self.db.write() as session:
            health.tend(session, connection_id, self.clock())

    def _asked(self, connection_id: str) -> tuple[Seen, bool]:
        """Return what the check tells, and whether the target is there."""
        try:
            with self.db.read() as session:
                target = self.targets.usable(session, session.get_one(Connection, connection_id))
        except Unavailable:
            raise
        except Exception as error:
            return Seen(connection_id=connection_id, kind=failures.ADAPTER_ERROR, message=str(error)[:300]), False
        kind, message = self._found(target)
        if kind == failures.AUTH:
            fresh = self._renewed(target)
            kind, message = self._found(fresh) if fresh is not None else (kind, message)
        pause = failures.decide(kind, 1, lambda: 0.5).pause if kind else None
        return (Seen(connection_id=connection_id, kind=kind, message=message, pause=pause),
                kind is None or kind not in _NOT_THERE)

    def _renewed(self, target: Target) -> Target | None:
        try:
            return self.renew(target, self.deadline_s)
        except Unavailable:
            raise
        except Exception as error:
            log.warning("credential_not_refreshed", connection_id=target.connection_id, error=type(error).__name__)
            return None

    def _found(self, target: Target) -> tuple[str | None, str]:
        """Return the class and the words of what keeps the target from being asked; None if it answers.

        Settings that it finds fault with do not keep it from answering: each delivery tells of them by itself.
        """
        try:
            with target.calling(self.clock, self.deadline_s, at_once=True) as ctx:
                found = target.adapter.check(ctx)
        except Exception as error:
            failed = calls.failed_with(target, error)
            return failed.kind, failed.text
        if found.error_class is None:
            return None, ""
        return str(found.error_class), target.redacted("; ".join(problem.message for problem in found.problems))
