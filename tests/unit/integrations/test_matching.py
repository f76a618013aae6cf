"""What is taken for one record on both sides, and what a person is asked about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.integrations.domain.matching import (
    NEAR_LEAST,
    NEAR_MOST,
    Candidate,
    Judgement,
    Key,
    folded,
    judge,
    keys,
    known_by,
)

CUSTOMER = {"id": "c-1", "name": "上海示例有限公司", "phone": "+8613800138000", "email": "wang@example.com",
            "invoice": {"title": "", "tax_number": "91310000MA1FL0000X", "type": "general"}}


def candidate(external_id: str = "7", *shared: str, **said: object) -> Candidate:
    return Candidate(external_id=external_id, shared=frozenset(shared), **said)  # type: ignore[arg-type]


def key(kind: str, value: str) -> Key:
    found = [one for one in keys({kind: [value]}, "CN") if one.kind == kind]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("kind", "one", "other"), [
    ("phone", "+8613800138000", "138-0013 8000"),
    ("phone", "+86 21 6100 0000 ext. 12", "（021）61000000"),
    ("email", "Wang@Example.com ", "wang@example.com"),
    ("tax_number", "91310000-ma1fl0000x", "９１３１００００MA1FL0000X"),
    ("name", "上海示例（集团）有限公司", "上海示例(集团) 有限公司"),
    ("name", "ＳÖHNE & Co.", "söhne co"),
])
def test_two_spellings_of_one_thing_are_one_key(kind: str, one: str, other: str) -> None:
    assert key(kind, one) == key(kind, other)


def test_what_a_company_is_stays_part_of_its_name() -> None:
    assert folded("晨光有限公司") != folded("晨光股份有限公司")


def test_what_is_no_phone_or_address_is_no_key() -> None:
    assert keys({"phone": ["call me", "12"], "email": ["nobody"], "name": ["--"], "code": [" "]}, "CN") == frozenset()


@given(st.text(min_size=NEAR_LEAST + 1, max_size=NEAR_MOST - 1, alphabet="abcdefg示例公司上海"), st.data())
def test_names_that_differ_by_one_letter_share_a_key(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    misspelt = data.draw(st.sampled_from([
        name[:at] + name[at + 1:], name[:at] + "z" + name[at:], name[:at] + "z" + name[at + 1:],
        name[:at] + name[at:at + 2][::-1] + name[at + 2:]]))
    one, other = ({key for key in keys({"name": [spelt]}, "CN") if key.kind == "near_name"}
                  for spelt in (name, misspelt))
    assert one & other


def test_a_short_name_is_near_to_no_other() -> None:
    assert {key.kind for key in keys({"name": ["李雷"]}, "CN")} == {"name"}


def test_a_customer_is_known_by_all_that_it_has() -> None:
    assert set(known_by(CUSTOMER)) == {"code", "tax_number", "phone", "email", "name"}
    assert known_by({"id": "c-1", "name": "x", "phone": None, "invoice": None}) == {"code": ["c-1"], "name": ["x"]}


def test_what_shares_nothing_is_new() -> None:
    assert judge([]) == Judgement("new")


def test_one_record_with_one_strong_key_in_common_is_certain_whatever_else_has_its_name() -> None:
    judged = judge([candidate("9", "name"), candidate("7", "phone")])
    assert (judged.verdict, [one.external_id for one in judged.candidates]) == ("certain", ["7", "9"])


@pytest.mark.parametrize("candidates", [
    [candidate("7", "name")],
    [candidate("7", "near_name")],
    [candidate("7", "phone"), candidate("8", "phone")],
    [candidate("7", "phone"), candidate("8", "email")],
    [candidate("7", "email", against=frozenset({"tax_number"}))],
    [candidate("7", "phone", crowded=frozenset({"phone"}))],
    [candidate("7", "phone", active=False)],
], ids=["name", "near name", "twice there", "two of theirs", "told apart", "two of ours", "out of use"])
def test_whatever_is_less_than_certain_is_a_persons_to_decide(candidates: list[Candidate]) -> None:
    assert judge(candidates).verdict == "doubtful"


def test_the_likeliest_candidate_comes_first() -> None:
    judged = judge([candidate("1", "near_name"), candidate("2", "phone", "email"), candidate("3", "phone"),
                    candidate("4", "phone", "email", "code", active=False)])
    assert [one.external_id for one in judged.candidates] == ["2", "3", "1", "4"]
