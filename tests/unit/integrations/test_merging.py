"""Three sides of a record, field by field."""

from __future__ import annotations

import pytest

from services.integrations.domain.gates import barring
from services.integrations.domain.merging import THEIRS, agreed, changed, merge, same

BASE = {"title": "a", "status": "open", "due_at": "2026-11-22T08:00:00Z"}


def test_what_only_one_side_changed_is_kept_from_that_side() -> None:
    merged = merge(BASE, BASE | {"status": "done"}, BASE | {"title": "b", "assignee_id": "u"}, THEIRS["task"])

    assert merged.body == BASE | {"status": "done", "title": "b", "assignee_id": "u"}
    assert merged.kept == ("status",)


def test_what_both_changed_is_ours_unless_the_field_is_theirs() -> None:
    merged = merge(BASE, BASE | {"status": "done", "title": "theirs"}, BASE | {"status": "cancelled", "title": "ours"},
                   THEIRS["task"])

    assert (merged.body["status"], merged.body["title"], merged.kept) == ("done", "ours", ("status",))


def test_without_a_base_every_difference_counts_as_a_change_of_both() -> None:
    merged = merge(None, {"status": "done", "title": "theirs"}, {"status": "open", "title": "ours"}, THEIRS["task"])

    assert merged.body == {"status": "done", "title": "ours"}


def test_a_field_that_only_they_know_is_not_ours_to_send() -> None:
    assert merge(BASE, BASE | {"colour": "red"}, BASE, ()).body == BASE


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

    assert (barred.reason if barred else None) == reason
