"""Consent by channel."""

from __future__ import annotations

import datetime as dt

from services.customers.domain import consent

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
REFUSED = {"email": {"state": "refused", "at": NOON, "source": "Newsletter"}}


def test_nobody_said_yes_until_somebody_does() -> None:
    assert consent.state_of({}, "email") is None
    assert consent.say({}, "email", "granted", NOON, "hub") == {
        "email": {"state": "granted", "at": NOON, "source": "hub"}}


def test_what_is_said_here_replaces_a_refusal_and_leaves_the_other_channels() -> None:
    held = consent.say({**REFUSED, "phone": REFUSED["email"]}, "email", "granted", NOON, "hub")
    assert (held["email"]["state"], held["phone"]) == ("granted", REFUSED["email"])


def test_saying_again_what_is_held_keeps_when_and_where_it_was_said_first() -> None:
    assert consent.say(REFUSED, "email", "refused", NOON + dt.timedelta(days=1), "hub") == REFUSED


def test_a_refusal_held_here_stands_against_a_grant_from_elsewhere_and_against_nothing_else() -> None:
    assert consent.overruled(REFUSED, "email", "granted")
    assert not consent.overruled(REFUSED, "email", "refused")
    assert not consent.overruled(REFUSED, "phone", "granted")
    assert not consent.overruled({}, "email", "granted")
