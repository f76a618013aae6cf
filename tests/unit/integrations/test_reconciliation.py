"""What is concluded from two sides of an entity, and when nothing may be concluded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.integrations.domain.reconciliation import (
    DONE_UNLESS_ASKED,
    KINDS,
    Ours,
    Policy,
    Suspect,
    Theirs,
    WrongPolicy,
    done_about,
    needs_approval,
    of_ours,
    policies,
    require_taken_over,
    vanished_too_many,
)

BOUND = Ours(local_id="a", external_id="1")
STANDING = Theirs(external_id="1", carries_ours=True)


def test_a_record_that_stands_once_where_it_is_bound_is_in_order() -> None:
    assert of_ours(BOUND, [STANDING]) == []


@pytest.mark.parametrize("external_id", ["1", None], ids=["deleted there", "never sent"])
def test_a_record_that_is_not_there_is_missing_there(external_id: str | None) -> None:
    ours = Ours(local_id="a", external_id=external_id)
    assert of_ours(ours, []) == [Suspect(kind="missing_remote", local_id="a", external_id=external_id)]


@pytest.mark.parametrize("external_id", ["1", None], ids=["bound to what has gone", "not bound"])
def test_a_record_whose_key_stands_under_another_id_has_a_stale_binding(external_id: str | None) -> None:
    ours = Ours(local_id="a", external_id=external_id)
    assert of_ours(ours, [Theirs(external_id="2", carries_ours=True)]) == [
        Suspect(kind="stale_binding", local_id="a", external_id=external_id, candidate="2")]


@pytest.mark.parametrize("double", [
    Theirs(external_id="2", carries_ours=True), Theirs(external_id="2"), STANDING,
], ids=["with our key", "a copy without it", "the same id in two places"])
def test_what_stands_twice_is_a_duplicate(double: Theirs) -> None:
    assert of_ours(BOUND, [STANDING, double]) == [
        Suspect(kind="duplicate_remote", local_id="a", external_id=double.external_id)]


def test_a_copy_is_not_taken_for_the_record_that_has_gone() -> None:
    assert [one.kind for one in of_ours(BOUND, [Theirs(external_id="2")])] == ["missing_remote"]


def test_a_double_that_was_taken_out_of_use_is_nobodys_concern() -> None:
    assert of_ours(BOUND, [STANDING, Theirs(external_id="2", carries_ours=True, active=False)]) == []


def test_what_is_not_to_stand_there_and_does_is_missing_here() -> None:
    gone = Ours(local_id="a", external_id="1", wanted=False)
    assert of_ours(gone, [STANDING]) == [Suspect(kind="missing_local", local_id="a", external_id="1")]
    assert of_ours(gone, [Theirs(external_id="1", active=False)]) == []
    assert of_ours(gone, []) == []


def test_nothing_is_concluded_of_a_record_that_is_under_way() -> None:
    assert of_ours(Ours(local_id="a", external_id="1", settled=False), []) == []


# --- a whole target -----------------------------------------------------------------------------------------------

FATES = ("in order", "missing_remote", "never sent", "stale_binding", "duplicate_remote", "copied", "under way")


@given(st.lists(st.sampled_from(FATES), max_size=40))
def test_exactly_what_was_planted_is_found_whatever_else_is_wrong(fates: list[str]) -> None:
    found, planted = [], []
    for n, fate in enumerate(fates):
        ours = Ours(local_id=f"r{n}", external_id=None if fate == "never sent" else f"{n}",
                    settled=fate != "under way")
        there = [Theirs(external_id=f"{n}", carries_ours=True)]
        if fate in ("missing_remote", "never sent", "under way"):
            there = []
        elif fate == "stale_binding":
            there = [Theirs(external_id=f"{n}'", carries_ours=True)]
        elif fate in ("duplicate_remote", "copied"):
            there.append(Theirs(external_id=f"{n}'", carries_ours=fate == "duplicate_remote"))
        found += [(one.local_id, one.kind) for one in of_ours(ours, there)]
        kind = {"never sent": "missing_remote", "copied": "duplicate_remote"}.get(fate, fate)
        planted += [(f"r{n}", kind)] if kind in KINDS else []
    assert found == planted


# --- guards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vanished", "bound", "stopped"), [
    (0, 0, False), (5, 100, False), (6, 100, True), (1, 19, True), (1, 20, False), (50, 10_000, False),
    (51, 10_000, True),
])
def test_more_than_a_twentieth_or_fifty_vanished_records_stop_the_run(vanished: int, bound: int, stopped: bool) -> None:
    assert vanished_too_many(vanished, bound) is stopped


def test_a_person_who_knows_what_is_gone_may_say_how_much() -> None:
    assert not vanished_too_many(30, 100, most=30)
    assert vanished_too_many(31, 100, most=30)


@pytest.mark.parametrize(("changes", "compared", "asked"), [
    (0, 0, False), (1, 100, False), (2, 100, True), (100, 1_000_000, False), (101, 1_000_000, True),
])
def test_more_than_a_hundredth_or_a_hundred_changes_wait_for_a_person(
    changes: int, compared: int, asked: bool
) -> None:
    assert needs_approval(changes, compared) is asked


def test_each_kind_has_a_policy_and_takes_no_other_than_it_can() -> None:
    assert policies({}) == DONE_UNLESS_ASKED
    assert policies({"mismatch": "adopt"})["mismatch"] == "adopt"
    for wrong in ({"mismatch": "delete"}, {"duplicate_remote": "repair"}, {"missing": "report"}):
        with pytest.raises(WrongPolicy):
            policies(wrong)


@pytest.mark.parametrize(("kind", "entity", "said"), [
    ("mismatch", "customer", "is taken over: consent. Change the record here"),
    ("mismatch", "contact", "repair it there"),
    ("missing_local", "contact", "delete it there, or quarantine it"),
    ("missing_local", "order", "delete it there, or quarantine it"),
])
def test_a_run_takes_over_only_what_the_owner_of_the_records_would(kind: str, entity: str, said: str) -> None:
    with pytest.raises(WrongPolicy, match=said):
        require_taken_over(policies({kind: "adopt"}), entity)
    require_taken_over(policies({kind: "adopt"}), "task")


@pytest.mark.parametrize(("policy", "kind", "local_id", "external_id", "fields", "done"), [
    ("adopt", "mismatch", "a", "1", ["title", "status"], "adopt"),
    ("adopt", "mismatch", "a", "1", ["title", "account"], "report"),
    ("adopt", "missing_local", None, "1", [], "adopt"),
    ("adopt", "missing_local", "a", "1", [], "report"),
    ("quarantine", "missing_remote", "a", "1", [], "quarantine"),
    ("quarantine", "missing_remote", "a", None, [], "report"),
    ("repair", "missing_remote", "a", "1", [], "quarantine"),
    ("repair", "missing_remote", "a", None, [], "repair"),
])
def test_a_finding_that_the_policy_does_not_fit_is_told_and_one_that_has_gone_is_asked_about(
    policy: Policy, kind: str, local_id: str | None, external_id: str | None, fields: list[str], done: str
) -> None:
    assert done_about(policy, kind, "task", local_id=local_id, external_id=external_id, fields=fields,
                      asks_if_gone=True) == done
