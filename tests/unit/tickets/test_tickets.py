"""The states of a ticket, every step from every state."""

from __future__ import annotations

import datetime as dt
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Invalid, InvalidTransition
from contracts.tickets import TICKET_STATES
from services.tickets.domain import tickets
from services.tickets.domain.tickets import Standing

AT = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
LEADS = {("new", "open"), ("new", "resolved"), ("open", "pending"), ("open", "resolved"), ("pending", "open"),
         ("pending", "resolved"), ("resolved", "open"), ("resolved", "closed")}


@pytest.mark.parametrize(("before", "after"), list(product(TICKET_STATES, repeat=2)))
def test_a_person_moves_a_ticket_only_along_the_steps(before: str, after: str) -> None:
    resolution = "A new seal" if after == "resolved" else None
    if (before, after) in LEADS:
        assert tickets.move(Standing(before), after, resolution, AT)["status"] == after
    else:
        with pytest.raises(InvalidTransition) as caught:
            tickets.move(Standing(before), after, resolution, AT)
        assert caught.value.fields["allowed"] == sorted(to for start, to in LEADS if start == before)


@pytest.mark.parametrize(("before", "direction", "after"), [
    ("new", "inbound", "new"), ("open", "inbound", "open"), ("pending", "inbound", "open"),
    ("resolved", "inbound", "open"), ("new", "outbound", "open"), ("open", "outbound", "open"),
    ("pending", "outbound", "pending"), ("resolved", "outbound", "resolved")])
def test_the_customers_reply_opens_what_waits_and_the_teams_first_opens_what_is_new(
        before: str, direction: str, after: str) -> None:
    assert tickets.replied(Standing(before), direction).get("status", before) == after


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_a_closed_ticket_takes_no_reply(direction: str) -> None:
    with pytest.raises(InvalidTransition):
        tickets.replied(Standing("closed"), direction)


def test_only_what_was_resolved_is_counted_as_reopened_and_its_resolution_is_gone() -> None:
    again = {"status": "open", "reopen_count": 3, "resolution": None, "resolved_at": None}
    assert tickets.replied(Standing("resolved", 2), "inbound") == again
    assert tickets.move(Standing("resolved", 2), "open", None, AT) == again
    assert tickets.replied(Standing("pending", 2), "inbound") == {"status": "open"}


@pytest.mark.parametrize("resolution", [None, "", " \n"])
def test_resolving_takes_a_resolution(resolution: str | None) -> None:
    with pytest.raises(Invalid):
        tickets.move(Standing("open"), "resolved", resolution, AT)


def test_a_resolution_belongs_to_resolving_alone() -> None:
    with pytest.raises(Invalid):
        tickets.move(Standing("resolved"), "closed", "Too late", AT)


def test_what_is_done_is_not_claimed() -> None:
    assert [tickets.claimed(Standing(status)) for status in ("new", "open", "pending")] == [{"status": "open"}, {}, {}]
    for status in ("resolved", "closed"):
        with pytest.raises(InvalidTransition):
            tickets.claimed(Standing(status))


STEPS = st.lists(st.one_of(st.sampled_from(TICKET_STATES), st.sampled_from(["inbound", "outbound"])), max_size=30)


@given(STEPS)
def test_however_it_is_moved_a_closed_ticket_has_a_resolution_and_stays_closed(steps: list[str]) -> None:
    ticket = {"status": "new", "reopen_count": 0, "resolution": None, "resolved_at": None}
    reopened = 0
    for step in steps:
        before = dict(ticket)
        now = Standing(str(ticket["status"]), int(ticket["reopen_count"] or 0))
        try:
            if step in TICKET_STATES:
                ticket |= tickets.move(now, step, "A new seal" if step == "resolved" else None, AT)
            else:
                ticket |= tickets.replied(now, step)
        except InvalidTransition:
            assert ticket == before
        reopened += (before["status"], ticket["status"]) == ("resolved", "open")
        done = ticket["status"] in ("resolved", "closed")
        assert (ticket["resolution"] is not None) == (ticket["resolved_at"] is not None) == done
        assert ticket["reopen_count"] == reopened
        assert before["status"] != "closed" or ticket == before
