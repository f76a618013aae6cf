"""The breaker of a connection: when its target counts as down, and how calls come back once it answers again.

A state machine without a clock: closed → open → (a check of the target) → half open → closed, or open again. Its
counters are columns of the connection, so a restart forgets nothing.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Literal

State = Literal["closed", "open", "half_open"]
Slot = tuple[int, int, int]
"""(number of the slot since 1970, calls in it, failures among them)."""

WINDOW_S, SLOT_S = 60, 5
"""Calls are counted over the last minute, to within a slot."""
LEAST_CALLS, FAILING_SHARE = 10, 0.5
IN_A_ROW, IN_A_ROW_OVER_S = 5, 10.0
"""Five failures in a row count once they span so long: five calls that one hiccup cuts are one failure."""
FIRST_WAIT_S, MOST_WAIT_S = 30.0, 600.0
RAMP = (1, 1, 2, 4)
"""Calls at once while half open: one to try, then one, two and four. Each step ends when so many have succeeded."""
QUIET_S = 60.0
"""A half-open connection that has had nothing to do for so long is closed: at once if a call has succeeded since, by
another check if none has been made."""
ALERTS_S = (0.0, 900.0, 3600.0, 86_400.0)
"""Alerts while a target stays down: at once, after 15 minutes, an hour, a day. It is tried on for ever."""


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """What is known of a target.

    Attributes:
        failures: in a row.
        first_failure_at: the first of those.
        window: slots of the last minute in which calls ended, oldest first; while half open, when the check did.
        open_until: when the target is checked next; None unless open.
        opened_at: since when it has been down, through every opening in between; None while closed.
        openings: in a row.
        step: of the ramp; None unless half open.
        passed: calls that have succeeded at this step.
        alerts: how many of `ALERTS_S` have been given.
    """

    failures: int = 0
    first_failure_at: dt.datetime | None = None
    window: tuple[Slot, ...] = ()
    open_until: dt.datetime | None = None
    opened_at: dt.datetime | None = None
    openings: int = 0
    step: int | None = None
    passed: int = 0
    alerts: int = 0

    @property
    def state(self) -> State:
        """Closed: calls pass. Open: none does. Half open: as many as the ramp says."""
        if self.open_until is not None:
            return "open"
        return "closed" if self.step is None else "half_open"

    def room(self, most: int) -> int:
        """Return how many calls may be on the wire at once, at most `most`."""
        if self.open_until is not None:
            return 0
        return most if self.step is None else min(most, RAMP[self.step])

    def answered(self, now: dt.datetime) -> Breaker:
        """Return the breaker after a call that the target answered."""
        if self.state == "open":
            return self  # begun before it opened; the check decides
        if self.step is None:
            return replace(self, failures=0, first_failure_at=None, window=_counted(self.window, now, failed=0))
        if self.passed + 1 < RAMP[self.step]:
            return replace(self, passed=self.passed + 1)
        if self.step + 1 < len(RAMP):
            return replace(self, step=self.step + 1, passed=0)
        return Breaker()

    def failed(self, now: dt.datetime) -> Breaker:
        """Return the breaker after a call that the target did not answer, or answered that it is unwell."""
        if self.state == "open":
            return self
        after = replace(self, failures=self.failures + 1, first_failure_at=self.first_failure_at or now)
        if self.step is not None:
            return after._open(now)
        after = replace(after, window=_counted(self.window, now, failed=1))
        return after._open(now) if after._is_down(now) else after

    def checking(self, until: dt.datetime) -> Breaker:
        """Return the breaker while somebody checks the target, which nobody else does before `until`."""
        return replace(self, open_until=until)

    def checked(self, *, reachable: bool, now: dt.datetime) -> Breaker:
        """Return the breaker after that check; the second in a row that the target has passed closes it."""
        if self.state != "open":
            return self
        if reachable and self.step is not None:
            return Breaker()
        answered = replace(self, open_until=None, step=0, passed=0, window=_counted((), now, failed=0))
        return answered if reachable else self._open(now)

    def check_due(self, now: dt.datetime) -> bool:
        """Tell whether to see if the target answers: it is down, or half open and nothing has been there to send."""
        if self.open_until is not None:
            return self.open_until <= now
        since = self.window[-1][0] * SLOT_S if self.step == 0 and self.window else None
        return since is not None and now.timestamp() - since >= QUIET_S + SLOT_S

    def rested(self, now: dt.datetime, last_success_at: dt.datetime | None) -> Breaker:
        """Return the breaker closed if it is half open, its first call succeeded, and nothing has come since."""
        if not self.step or last_success_at is None or (now - last_success_at).total_seconds() < QUIET_S:
            return self
        return Breaker()

    def alert_due(self, now: dt.datetime) -> float | None:
        """Return the seconds after which an alert is due that has not been given: the target is still down."""
        if self.state != "open" or self.opened_at is None:
            return None
        down_s = (now - self.opened_at).total_seconds()
        due = [after_s for after_s in ALERTS_S[self.alerts:] if after_s <= down_s]
        return due[-1] if due else None

    def alerted(self, after_s: float) -> Breaker:
        """Return the breaker after that alert; those that it overtook are not given any more."""
        return replace(self, alerts=ALERTS_S.index(after_s) + 1)

    def _is_down(self, now: dt.datetime) -> bool:
        began = self.first_failure_at or now
        in_a_row = self.failures >= IN_A_ROW and (now - began).total_seconds() >= IN_A_ROW_OVER_S
        calls, failures = (sum(slot[n] for slot in self.window) for n in (1, 2))
        return in_a_row or (calls >= LEAST_CALLS and failures >= calls * FAILING_SHARE)

    def _open(self, now: dt.datetime) -> Breaker:
        wait_s = min(FIRST_WAIT_S * 2 ** min(self.openings, 10), MOST_WAIT_S)
        return replace(self, open_until=now + dt.timedelta(seconds=wait_s), opened_at=self.opened_at or now,
                       openings=self.openings + 1, step=None, passed=0, window=())


def _counted(window: tuple[Slot, ...], now: dt.datetime, *, failed: int) -> tuple[Slot, ...]:
    """Return the window with one call more, without what is older than a minute."""
    current = int(now.timestamp()) // SLOT_S
    kept = [slot for slot in window if current - WINDOW_S // SLOT_S < slot[0]]
    if kept and kept[-1][0] >= current:  # a clock that was put back counts on in the newest slot
        number, calls, failures = kept.pop()
        return (*kept, (number, calls + 1, failures + failed))
    return (*kept, (current, 1, failed))
