"""Three sides of a record, field by field."""

from __future__ import annotations

import datetime as dt

import pytest

from services.integrations.domain.gates import barring
from services.integrations.domain.merging import Owner, agreed, changed, is_later, merge, owners_of, same

BASE = {"title": "a", "status": "open", "due_at": "2026-11-22T08:00:00Z"}
USUAL = owners_of("task", {})
NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


def test_what_only_one_side_changed_is_kept_from_that_side() -> None:
    merged = merge(BASE, BASE | {"status": "done"}, BASE | {"title": "b", "assignee_id": "u"}, USUAL)

    assert merged.body == BASE | {"status": "done", "title": "b", "assignee_id": "u"}
    assert merged.kept == ("status",)


def test_what_both_changed_is_ours_unless_the_field_is_theirs() -> None:
    merged = merge(BASE, BASE | {"status": "done", "title": "theirs"}, BASE | {"status": "cancelled", "title": "ours"},
                   USUAL)

    assert (merged.body["status"], merged.body["title"], merged.kept) == ("done", "ours", ("status",))


def test_without_a_base_every_difference_counts_as_a_change_of_both() -> None:
    merged = merge(None, {"status": "done", "title": "theirs"}, {"status": "open", "title": "ours"}, USUAL)

    assert merged.body == {"status": "done", "title": "ours"}


def test_a_field_that_only_they_know_is_not_ours_to_send() -> None:
    assert merge(BASE, BASE | {"colour": "red"}, BASE, {}).body == BASE


@pytest.mark.parametrize(("owner", "theirs_is_later", "title", "kept", "overruled", "disputed"), [
    ("local", True, "ours", (), ("title",), ()),
    ("remote", False, "theirs", ("title",), (), ()),
    ("latest", True, "theirs", ("title",), (), ()),
    ("latest", False, "ours", (), ("title",), ()),
    ("manual", True, "theirs", (), (), ("title",)),
])
def test_a_field_that_both_changed_goes_by_its_owner(
    owner: Owner, theirs_is_later: bool, title: str, kept: tuple[str], overruled: tuple[str], disputed: tuple[str]
) -> None:
    merged = merge(BASE, BASE | {"title": "theirs"}, BASE | {"title": "ours"}, owners_of("task", {"title": owner}),
                   theirs_is_later=theirs_is_later)

    assert merged.body["title"] == title
    assert (merged.kept, merged.overruled, merged.disputed) == (kept, overruled, disputed)


@pytest.mark.parametrize("owner", ["local", "manual"])
def test_a_field_that_one_side_alone_changed_is_nobodys_quarrel(owner: Owner) -> None:
    owners: dict[str, Owner] = {"title": owner, "due_at": owner}

    merged = merge(BASE, BASE | {"title": "theirs"}, BASE | {"due_at": None}, owners)

    assert merged.body == BASE | {"title": "theirs", "due_at": None}
    assert (merged.kept, merged.disputed) == (("title",), ())


def test_a_field_that_is_left_stays_as_it_stands_there_and_nobody_hears_of_it() -> None:
    merged = merge(BASE, BASE | {"title": "theirs"}, BASE | {"title": "ours", "due_at": None}, USUAL, left=["title"])

    assert merged.body == BASE | {"title": "theirs", "due_at": None}
    assert (merged.kept, merged.disputed) == ((), ())


@pytest.mark.parametrize(("theirs", "ours", "later"), [
    (NOON + dt.timedelta(seconds=1), NOON, True),
    (NOON, NOON, False),
    (NOON, NOON + dt.timedelta(seconds=1), False),
    (None, NOON, True),
])
def test_at_a_tie_ours_is_the_latest_and_what_has_no_time_is_met_now(
    theirs: dt.datetime | None, ours: dt.datetime, later: bool
) -> None:
    assert is_later(theirs, ours) is later


@pytest.mark.parametrize(("one", "other", "equal"), [
    ("2026-11-22T08:00:00Z", "2026-11-22T16:00:00.000000+08:00", True),
    ("2026-11-22T08:00:00Z", "2026-11-22T08:00:01Z", False),
    ("2026-11-22", "2026-11-22T00:00:00Z", False),
    ("a", "a ", False),
    (None, "", False),
    (1, 1.0, True),
])
def test_one_instant_in_two_writings_is_one_value(one: object, other: object, equal: bool) -> None:
    assert same(one, other) is equal


def test_a_change_names_its_fields_and_nothing_known_names_none() -> None:
    assert changed(BASE | {"status": "done"}, BASE) == ["status"]
    assert changed(BASE, BASE) == []
    assert changed(BASE, None) is None


def test_both_sides_agree_where_the_hub_has_what_was_seen_and_nowhere_else() -> None:
    seen = BASE | {"status": "done", "title": "theirs"}
    ours = BASE | {"status": "done", "title": "ours"}

    assert agreed(BASE, seen, ours) == BASE | {"status": "done"}


class Spec:
    accounts = ("task",)
    consent = {"contact": "email"}  # noqa: RUF012 (plain data)


@pytest.mark.parametrize(("entity", "state", "reason"), [
    ("contact", {"consent": {"email": {"state": "granted"}}}, None),
    ("contact", {"consent": {"email": {"state": "refused"}}}, "no consent for email"),
    ("contact", {"consent": {"phone": {"state": "granted"}}}, "no consent for email"),
    ("contact", {"consent": None}, "no consent for email"),
    ("contact", {}, "no consent for email"),
    ("customer", {}, None),
    ("task", {"assignee_id": "u"}, None),
    ("task", {"assignee_id": None}, "it is assigned to nobody"),
])
def test_a_record_stands_at_a_target_only_with_consent_and_somebodys_name(
    entity: str, state: dict[str, object], reason: str | None
) -> None:
    barred = barring(Spec(), entity, state)

    assert (barred.reason["en"] if barred else None) == reason
