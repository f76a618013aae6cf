"""To whom a queue gives the next ticket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.tickets.domain import queues
from services.tickets.domain.queues import Member


def members(*loads: int) -> list[Member]:
    """Members at places 1, 2, ... with these loads; their ids are a, b, ..."""
    return [Member(chr(ord("a") + n), n + 1, load) for n, load in enumerate(loads)]


def chosen(strategy: str, loads: tuple[int, ...], max_open: int | None = None, last: int = 0) -> str | None:
    found = queues.choose(strategy, members(*loads), max_open, last)
    return found.user_id if found else None


def test_round_robin_goes_around_and_passes_over_whoever_is_full() -> None:
    assert [chosen("round_robin", (0, 0, 0), last=last) for last in range(4)] == ["a", "b", "c", "a"]
    assert chosen("round_robin", (0, 5, 0), max_open=5, last=1) == "c"
    assert chosen("round_robin", (9, 0, 0), last=3) == "a"


def test_round_robin_goes_on_where_somebody_has_left() -> None:
    left = [one for one in members(0, 0, 0) if one.user_id != "b"]
    found = queues.choose("round_robin", left, None, 2)
    assert found is not None
    assert found.user_id == "c"


def test_least_open_takes_whoever_has_the_fewest_and_of_several_the_one_whose_turn_it_is() -> None:
    assert chosen("least_open", (2, 1, 3)) == "b"
    assert chosen("least_open", (1, 1, 1), last=1) == "b"
    assert chosen("least_open", (1, 1, 1), last=3) == "a"


def test_nobody_is_given_anything_where_members_claim_or_all_are_full() -> None:
    assert chosen("manual", (0, 0)) is None
    for strategy in ("round_robin", "least_open"):
        assert chosen(strategy, (5, 5), max_open=5) is None
        assert chosen(strategy, ()) is None


@given(st.sampled_from(["round_robin", "least_open"]), st.integers(1, 6), st.integers(1, 5), st.integers(0, 60))
def test_tickets_are_spread_evenly_and_never_beyond_the_limit(strategy: str, people: int, most: int,
                                                                 wanted: int) -> None:
    loads, last = [0] * people, 0
    for _ in range(wanted):
        found = queues.choose(strategy, members(*loads), most, last)
        if found is None:
            assert set(loads) == {most}
            break
        loads[found.place - 1] += 1
        last = found.place
        assert max(loads) - min(loads) <= 1
        assert max(loads) <= most
