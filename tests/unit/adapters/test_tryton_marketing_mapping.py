"""Which rows of a mailing list are refusals, and what brings somebody back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_adapter.failure import Invalid
from hub_adapter.settings import SettingsError
from services.integrations.adapters.tryton_marketing import mapping
from services.integrations.adapters.tryton_marketing.mapping import Subscription
from services.integrations.adapters.tryton_marketing.settings import CONFIG_SCHEMA, ListSettings

HUB, COLLEAGUE, WEBSITE = 2, 7, 0
THEN = datetime(2026, 11, 22, 2, 0, 0, 123456, tzinfo=UTC)
CONFIG: dict[str, Any] = {"base_url": "https://erp.example.com", "database": "erp", "mailing_list": 1}


def a_row(*, active: bool = False, changed_by: int | None = COLLEAGUE) -> Subscription:
    return Subscription(id=1, email="a@example.com", active=active, changed_at=THEN, changed_by=changed_by)


@given(st.integers(-10, 10), st.sampled_from([COLLEAGUE, WEBSITE]))
def test_only_consent_that_is_younger_than_a_refusal_counts(microseconds: int, by: int) -> None:
    granted_at = THEN + timedelta(microseconds=microseconds)
    assert mapping.may_return(a_row(changed_by=by), granted_at, HUB) == (microseconds > 0)


@pytest.mark.parametrize("by", [HUB, None])
def test_what_no_person_took_off_is_no_refusal_and_told_as_nothing_said(by: int | None) -> None:
    assert mapping.may_return(a_row(changed_by=by), THEN - timedelta(days=1), HUB)
    assert mapping.body_of(a_row(changed_by=by), HUB)["consent"] == {}


def test_times_are_compared_and_not_their_spellings() -> None:
    granted = {"state": "granted", "at": THEN.astimezone(timezone(timedelta(hours=8))).isoformat()}
    wanted = mapping.wanted({"email": " A@Example.com", "consent": {"email": granted}})
    assert (wanted.email, wanted.granted_at) == ("a@example.com", THEN)
    assert not mapping.may_return(a_row(), wanted.granted_at, HUB)


@pytest.mark.parametrize(
    ("consent", "field"),
    [
        (None, "/consent/email"),
        ({}, "/consent/email"),
        ({"phone": {"state": "granted", "at": "2026-11-22T02:00:00Z"}}, "/consent/email"),
        ({"email": {"state": "refused", "at": "2026-11-22T02:00:00Z"}}, "/consent/email"),
        ({"email": {"state": "granted"}}, "/consent/email/at"),
        ({"email": {"state": "granted", "at": "yesterday"}}, "/consent/email/at"),
        ({"email": {"state": "granted", "at": "2026-11-22T02:00:00"}}, "/consent/email/at"),
    ],
)
def test_consent_without_state_or_time_is_refused_by_field(consent: Any, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        mapping.wanted({"email": "a@example.com", "consent": consent})
    assert refused.value.failure.field == field


def test_a_row_reads_whole() -> None:
    stamp = {"__class__": "datetime", "year": 2026, "month": 11, "day": 22, "hour": 2, "microsecond": 5}
    row = {"id": 3, "email": "a@example.com", "active": 0, "write_uid": WEBSITE, "last_modified_at": stamp}
    assert mapping.subscription_of(row | {"write_date": stamp}).is_refused(HUB)
    assert not mapping.subscription_of(row | {"write_date": None}).is_refused(HUB)
    assert mapping.subscription_of(row | {"write_date": stamp}).version == "2026-11-22T02:00:00.000005+00:00"


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"base_url": None}, "base_url"),
        ({"base_url": "erp.example.com"}, "base_url"),
        ({"database": ""}, "database"),
        ({"mailing_list": "1"}, "mailing_list"),
        ({"mailing_list": True}, "mailing_list"),
        ({"mailing_list": 0}, "mailing_list"),
        ({"overlap_s": -1}, "overlap_s"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_and_schema_refuse_the_same_and_name_the_setting(change: dict[str, Any], setting: str) -> None:
    config = {key: value for key, value in {**CONFIG, **change}.items() if value is not None}
    with pytest.raises(SettingsError) as refused:
        ListSettings.of(config, {"rest_key": "k"})
    assert set(refused.value.problems) == {setting}
    assert not jsonschema_rs.is_valid(dict(CONFIG_SCHEMA), config)


def test_complete_settings_are_taken_and_a_missing_secret_is_not() -> None:
    assert ListSettings.of({**CONFIG, "allow_private": ["10.0.0.0/8"]}, {"rest_key": "k"}).overlap_s == 600
    with pytest.raises(SettingsError, match="rest_key"):
        ListSettings.of(CONFIG, {})
