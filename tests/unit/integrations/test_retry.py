"""When to try again: the schedule, its jitter, and what each class of failure leads to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.integrations.domain import failures, retry
from services.integrations.domain.failures import Doubt, decide, resolve

chance = st.floats(0, 1, exclude_max=True)
MIDDLE = lambda: 0.5  # noqa: E731


def test_twelve_attempts_span_seventy_four_hours_forty_two_minutes_and_thirty_five_seconds() -> None:
    waits = [retry.wait_s(n, MIDDLE) for n in range(1, 13)]
    assert waits[-1] is None
    assert sum(wait for wait in waits if wait) == pytest.approx(74 * 3600 + 42 * 60 + 35)
    assert retry.MAX_ATTEMPTS == 12


@given(st.integers(1, 11), chance)
def test_jitter_stays_within_a_fifth(failed: int, drawn: float) -> None:
    wait = retry.wait_s(failed, lambda: drawn)
    assert wait is not None
    assert 0.8 * retry.SCHEDULE_S[failed - 1] <= wait <= 1.2 * retry.SCHEDULE_S[failed - 1]


@given(st.integers(0, 10), chance)
def test_a_look_up_never_comes_early(probes: int, drawn: float) -> None:
    wait = retry.probe_s(probes, lambda: drawn)
    assert wait is not None
    assert retry.PROBES_S[probes] <= wait <= 1.2 * retry.PROBES_S[probes]


def test_our_own_pace_uses_an_attempt_only_where_a_call_did_not_fit_its_time() -> None:
    waits, too_long = (decide("paced", 3, MIDDLE, retry_after_s=seconds) for seconds in (7.0, None))
    assert (waits.state, waits.wait_s, waits.uses_attempt, waits.throttle_s) == ("retry_wait", 7.0, False, None)
    assert (too_long.state, too_long.uses_attempt, too_long.throttle_s) == ("retry_wait", True, None)
    assert decide("paced", 12, MIDDLE).state == "dead"


@given(st.sampled_from(failures.CLASSES), st.integers(1, 50), chance, st.none() | st.floats(0, 1e9))
def test_every_failure_ends_or_is_looked_at_again(kind: str, failed: int, drawn: float, asked: float | None) -> None:
    verdict = decide(kind, failed, lambda: drawn, retry_after_s=asked)
    assert (verdict.state == "dead") == (verdict.wait_s is None)


@given(st.integers(1, 11), chance)
def test_waiting_for_the_target_the_credential_or_a_record_uses_no_attempt(failed: int, drawn: float) -> None:
    for kind in (failures.RATE_LIMITED, failures.AUTH, failures.DEPENDENCY_MISSING):
        assert not decide(kind, failed, lambda: drawn).uses_attempt


def test_a_target_that_asks_for_a_year_gets_a_day() -> None:
    assert decide(failures.RATE_LIMITED, 1, MIDDLE, retry_after_s=3e7).throttle_s == 86_400


@pytest.mark.parametrize("kind", [failures.VERSION_CONFLICT, failures.ADAPTER_ERROR])
def test_what_repeating_rarely_heals_is_tried_three_times(kind: str) -> None:
    assert [decide(kind, failed, MIDDLE).state for failed in (1, 2, 3)] == ["retry_wait", "retry_wait", "dead"]


def test_a_class_nobody_knows_counts_as_the_adapters_own_fault() -> None:
    assert decide("cosmic rays", 1, MIDDLE) == decide(failures.ADAPTER_ERROR, 1, MIDDLE)
    assert decide("cosmic rays", 3, MIDDLE).state == "dead"


@pytest.mark.parametrize("kind", failures.CLASSES)
def test_what_the_next_call_would_meet_too_is_what_stops_or_counts_against_the_connection(kind: str) -> None:
    verdict = decide(kind, 1, MIDDLE)

    stops = verdict.throttle_s is not None or verdict.pause is not None
    assert (kind in failures.WOULD_RECUR) == (stops or kind in failures.UNWELL)


doubts = st.builds(Doubt, since_s=st.floats(0, 1e6), probes=st.integers(1, 20), can_find=st.booleans(),
                   honours_key=st.booleans())


@given(doubts, st.sampled_from(["found", "absent", "unanswered"]), st.floats(1, 600))
def test_nothing_is_sent_again_unless_a_late_look_up_was_empty(
    doubt: Doubt, answer: failures.Answer, proof: float
) -> None:
    if resolve(doubt, answer, proof) == "resend":
        assert answer == "absent"
        assert doubt.since_s >= proof
        assert doubt.can_find or doubt.honours_key


@given(doubts, st.floats(1, 600))
def test_an_empty_look_up_is_believed_as_soon_as_it_was_said_to_be(doubt: Doubt, proof: float) -> None:
    if doubt.can_find or doubt.honours_key:
        due_s = doubt.since_s + failures.proof_in_s(doubt, proof) + 0.001
        assert due_s >= proof
        assert resolve(replace(doubt, since_s=due_s), "absent", proof) == "resend"
        assert resolve(replace(doubt, since_s=due_s - 0.002), "absent", proof) == "look_again"


@given(doubts, st.floats(1, 600))
def test_what_was_found_is_adopted_whatever_the_target_can_do(doubt: Doubt, proof: float) -> None:
    assert resolve(doubt, "found", proof) == "adopt"
