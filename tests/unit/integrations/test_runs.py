"""How far a run has come, what differs, and what whoever may not see people is shown of it."""

from __future__ import annotations

import pytest

from contracts import runs as contract
from services.integrations.domain import runs
from services.integrations.domain.differences import differing, values
from services.integrations.domain.veils import veiled


@pytest.mark.parametrize(("counts", "total", "percent", "seconds"), [
    ({"seen": 250}, 1000, 25.0, 30), ({"seen": 9_999}, 10_000, 99.9, 1), ({}, 1000, 0.0, None),
    ({"seen": 5}, None, None, None),
])
def test_progress_is_told_as_far_as_it_is_known(counts: dict[str, int], total: int | None, percent: float | None,
                                                seconds: int | None) -> None:
    assert runs.percent(counts, total, "running") == percent
    assert runs.seconds_left(counts, total, worked_s=10.0) == seconds


@pytest.mark.parametrize("seen", [1000, 1200])
def test_a_run_that_goes_on_when_all_was_looked_at_is_neither_done_nor_about_to_be(seen: int) -> None:
    assert runs.percent({"seen": seen}, 1000, "running") is None
    assert runs.seconds_left({"seen": seen}, 1000, worked_s=10.0) is None


def test_a_run_whose_work_nobody_has_measured_tells_no_time() -> None:
    assert runs.seconds_left({"seen": 250}, 1000, worked_s=None) is None


def test_what_is_completed_is_done_whatever_it_had_expected() -> None:
    assert runs.percent({"seen": 3}, 7, "completed") == 100.0


def test_the_states_and_decisions_of_the_contract_are_those_of_the_rules() -> None:
    assert set(runs.UNFINISHED) < set(contract.STATES)
    assert set(runs.DECISIONS) < set(contract.FINDING_KINDS)
    assert {one for allowed in runs.DECISIONS.values() for one in allowed} == set(contract.DECISIONS)


def test_only_what_is_expected_is_compared_at_any_depth() -> None:
    expected = {"name": "a", "address": {"city": "x", "street": None}, "tags": ["1"]}
    standing = {"name": "b", "address": {"city": "y", "note": "theirs"}, "tags": ["1"], "score": 7}
    names = differing(expected, standing)
    assert names == ["address.city", "name"]
    assert values(standing, names) == {"address.city": "y", "name": "b"}
    assert differing({"address": {"city": "x"}}, {"address": None}) == ["address"]
    assert values({"address": None}, ["address.city"]) == {"address.city": None}


def test_every_sensitive_field_is_masked_wherever_it_stands_and_empty_ones_stay_empty() -> None:
    detail = {"ours": {"name": "李雷", "phone": "+8613800138000", "wechat_id": "", "address": {"street": "1"}},
              "theirs": {"address.street": "2", "email": "li@example.cn", "ship_to": [{"phone": "12345"}]}}
    assert veiled("customer", detail) == {
        "ours": {"name": "李雷", "phone": "+86138****8000", "wechat_id": "", "address": {"street": "***"}},
        "theirs": {"address.street": "***", "email": "l***@example.cn", "ship_to": [{"phone": "****45"}]}}
    assert veiled("task", {"description": "for Mr Li"}) == {"description": "***"}
    assert veiled("product", {"name": "pump"}) == {"name": "pump"}
