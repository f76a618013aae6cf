"""When the hub stops the line by itself, and that it says why in both languages."""

from __future__ import annotations

import datetime as dt
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from services.integrations.domain import pauses

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)


def refused(*moments: tuple[str, float]) -> list[tuple[str, float]]:
    known: list[tuple[str, float]] = []
    for record, second in moments:
        known = pauses.with_refused(known, record, NOW + dt.timedelta(seconds=second))
    return known


def test_twenty_records_refused_one_after_the_other_are_a_fault_of_the_mapping() -> None:
    assert pauses.is_mapping_fault(refused(*((f"r{n}", n) for n in range(20))))
    assert not pauses.is_mapping_fault(refused(*((f"r{n}", n) for n in range(19))))


def test_fifty_doubts_that_no_look_clears_up_are_for_a_person() -> None:
    assert pauses.DOUBTS == 50


def test_one_record_refused_a_hundred_times_is_one() -> None:
    assert len(refused(*(("r", n) for n in range(100)))) == 1


def test_what_was_refused_ten_minutes_ago_counts_no_more() -> None:
    assert not pauses.is_mapping_fault(refused(*((f"r{n}", n * 31.6) for n in range(50))))


@given(st.lists(st.tuples(st.sampled_from([f"r{n}" for n in range(30)]), st.integers(0, 5)), max_size=99))
def test_no_more_is_kept_than_is_needed(steps: list[tuple[str, int]]) -> None:
    assert len(refused(*steps)) <= pauses.REFUSED_RECORDS


def test_every_pause_says_what_happened_and_what_to_do_in_english_and_chinese() -> None:
    assert set(pauses.ADVICE) == set(get_args(pauses.Code))
    for words in pauses.ADVICE.values():
        assert set(words) == {"en", "zh-CN"}
        assert any("\u4e00" <= letter <= "\u9fff" for letter in words["zh-CN"])
        assert "resume" in words["en"]
