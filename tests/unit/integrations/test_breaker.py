"""The breaker as a state machine: when it opens, how long it waits, how calls come back, and that it never gives up."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.integrations.domain import breaker
from services.integrations.domain.breaker import ALERTS_S, RAMP, Breaker

START = dt.datetime(2026, 11, 22, 8, 0, 1, tzinfo=dt.UTC)


def after(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def fed(calls: str, every_s: float) -> Breaker:
    """Return a breaker after calls that ended so long apart: `x` failed, `.` was answered."""
    now = Breaker()
    for n, call in enumerate(calls):
        now = now.failed(after(n * every_s)) if call == "x" else now.answered(after(n * every_s))
    return now


def opened(times: int = 1) -> Breaker:
    """Return a breaker that has opened so often in a row, the first time at the start."""
    now = Breaker()._open(START)
    for _ in range(times - 1):
        now = now.checked(reachable=False, now=now.open_until or START)
    return now


@pytest.mark.parametrize(("calls", "every_s", "state"), [
    (".....xxxxx", 1, "open"), ("....xxxxx", 1, "closed"), ("xxxx......", 1, "closed"), ("xxxxx.....", 1, "closed"),
    (".x.x.x.x.x", 5, "open"),
    ("xxxx.xxxx.", 12, "closed"), (".x.x.x.x.x" * 3, 12, "closed"),
    ("xxxxx", 2.5, "open"), ("xxxxx", 2.4, "closed"), ("xxxx", 60, "closed"), ("xx.xxxx", 60, "closed"),
    ("xxxxx", 600, "open"), ("xxxxxxxxx", 0.1, "closed"), ("xxxxxxxxxx", 0.1, "open"),
])
def test_it_opens_at_half_of_ten_calls_in_a_minute_or_at_five_failures_in_a_row_over_ten_seconds(
    calls: str, every_s: float, state: str
) -> None:
    assert fed(calls, every_s).state == state


def test_it_waits_thirty_seconds_and_twice_as_long_each_time_up_to_ten_minutes() -> None:
    now, waits = opened(), []
    for _ in range(7):
        began = now.open_until or START
        now = now.checked(reachable=False, now=began)
        waits.append(((now.open_until or START) - began).total_seconds())
    assert ((opened().open_until or START) - START).total_seconds() == 30
    assert waits == [60, 120, 240, 480, 600, 600, 600]


def test_after_a_check_one_call_may_go_then_one_two_and_four_then_all() -> None:
    now = opened().checked(reachable=True, now=after(30))
    rooms = []
    while now.state == "half_open":
        rooms.append(now.room(16))
        now = now.answered(after(31))
    assert rooms == [1, 1, 2, 2, 4, 4, 4, 4]
    assert now == Breaker()
    assert now.room(16) == 16


@given(st.integers(0, sum(RAMP) - 1), st.integers(1, 6))
def test_one_failure_on_the_ramp_opens_it_again_for_twice_as_long(successes: int, openings: int) -> None:
    now = opened(openings).checked(reachable=True, now=after(9000))
    for _ in range(successes):
        now = now.answered(after(9001))
    again = now.failed(after(9002))
    assert again.state == "open"
    assert again.open_until == after(9002 + min(30 * 2 ** openings, 600))
    assert again.opened_at == START


def test_a_late_answer_neither_closes_nor_prolongs_an_open_one() -> None:
    assert opened().answered(after(1)) == opened()
    assert opened().failed(after(1)) == opened()


def test_what_is_half_open_and_has_had_nothing_to_do_for_a_minute_is_closed() -> None:
    fresh = opened().checked(reachable=True, now=after(30))
    tried = fresh.answered(after(31))
    assert fresh.rested(after(9000), after(31)) is fresh, "nothing has been tried yet"
    assert [fresh.check_due(after(s)) for s in (31, 80, 100)] == [False, False, True], "so it is checked once more"
    checking = fresh.checking(after(140))
    assert (checking.state, checking.check_due(after(120))) == ("open", False)
    assert checking.checked(reachable=True, now=after(101)) == Breaker()
    assert checking.checked(reachable=False, now=after(101)).state == "open"
    assert tried.rested(after(90), after(31)) is tried
    assert tried.rested(after(91), after(31)) == Breaker()


def test_alerts_come_at_once_after_a_quarter_of_an_hour_an_hour_and_a_day_and_each_once() -> None:
    now, given_at = opened(), []
    for second in range(0, 200_000, 10):
        after_s = now.alert_due(after(second))
        if after_s is not None:
            now = now.alerted(after_s)
            given_at.append((second, after_s))
    assert given_at == [(int(after_s), after_s) for after_s in ALERTS_S]
    assert now.state == "open"


def test_a_process_that_slept_through_two_alerts_gives_the_later_one() -> None:
    now = opened().alerted(0.0)
    assert now.alert_due(after(4000)) == 3600.0
    assert now.alerted(3600.0).alert_due(after(4000)) is None


class AnyLife(RuleBasedStateMachine):
    """Whatever happens in whatever order, beside a plain list of all calls."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.breaker = Breaker()
        self.calls: list[tuple[dt.datetime, bool]] = []
        self.in_a_row: list[dt.datetime] = []

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 3.0, 20.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)

    @precondition(lambda self: self.breaker.state == "closed")
    @rule(failed=st.booleans())
    def a_call_ends(self, failed: bool) -> None:
        self.calls.append((self.now, failed))
        self.in_a_row = [*self.in_a_row, self.now] if failed else []
        self.breaker = self.breaker.failed(self.now) if failed else self.breaker.answered(self.now)
        counts = [self._counts(within_s) for within_s in (breaker.WINDOW_S - breaker.SLOT_S, breaker.WINDOW_S)]
        in_a_row = len(self.in_a_row) >= 5 and (self.now - self.in_a_row[0]).total_seconds() >= 10
        if failed and (in_a_row or all(counts)):
            assert self.breaker.state == "open"
        if not failed or not (in_a_row or any(self._counts(s) for s in range(55, 61))):
            assert self.breaker.state == "closed"
        if self.breaker.state == "open":
            self.calls, self.in_a_row = [], []

    def _counts(self, within_s: int) -> bool:
        recent = [failed for at, failed in self.calls if (self.now - at).total_seconds() <= within_s]
        return len(recent) >= 10 and sum(recent) * 2 >= len(recent)

    @precondition(lambda self: self.breaker.state == "half_open")
    @rule(failed=st.booleans())
    def a_trial_ends(self, failed: bool) -> None:
        self.breaker = self.breaker.failed(self.now) if failed else self.breaker.answered(self.now)
        assert (self.breaker.state == "open") == failed
        self.calls, self.in_a_row = [], []

    @precondition(lambda self: self.breaker.state == "open")
    @rule(reachable=st.booleans())
    def it_is_checked(self, reachable: bool) -> None:
        self.now = max(self.now, self.breaker.open_until or self.now)
        self.breaker = self.breaker.checked(reachable=reachable, now=self.now)
        assert self.breaker.state == ("half_open" if reachable else "open")

    @invariant()
    def no_call_is_let_through_while_it_is_open_and_one_at_least_otherwise(self) -> None:
        assert (self.breaker.room(16) == 0) == (self.breaker.state == "open")

    @invariant()
    def it_is_tried_again_within_ten_minutes(self) -> None:
        if self.breaker.open_until is not None:
            assert self.breaker.open_until <= self.now + dt.timedelta(seconds=600)

    @invariant()
    def it_keeps_no_more_than_a_minute(self) -> None:
        assert len(self.breaker.window) <= breaker.WINDOW_S // breaker.SLOT_S


TestAnyLife = AnyLife.TestCase
