"""Which passwords are accepted, how failures slow down the next, and what credentials look like."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import time

import pytest

from services.identity.domain.credentials import new_api_key, new_session_token, sha256_of
from services.identity.domain.lockout import Patience, counted
from services.identity.domain.passwords import faults, normalised, random_password

NOW = dt.datetime(2026, 11, 22, 8, tzinfo=dt.UTC)


def refusals(password: str, username: str = "li.wei") -> list[str]:
    return [fault["code"] for fault in faults(password, username=username, shortest=12, pointer="/p")]


@pytest.mark.parametrize(
    ("password", "codes"),
    [
        ("eleven chrs", ["too_short"]),
        ("twelve chars", []),
        ("密码密码密码一二三四五六", []),
        ("correct horse Battery staple " * 7, ["too_long"]),
        ("I am LI.WEI, hello", ["holds_username"]),
        ("ｌｉ．ｗｅｉ and more", ["holds_username"]),
        ("correct horse battery", []),
        ("li.wei", ["too_short", "holds_username", "too_common"]),
        ("", ["too_short", "too_common"]),
    ],
)
def test_a_password_is_refused_for_every_reason_that_can_be_mended(password: str, codes: list[str]) -> None:
    assert refusals(password) == codes


@pytest.mark.parametrize("password", [
    "password1234", "Password1234", "P@ssw0rd1234", "passwordpassword", "qwertyuiop12", "qwerty123456", "iloveyou1234",
    "123456789012", "adminadmin12", "welcome12345", "aaaaaaaaaaaaaaa", "abababababababab", "crmhubcrmhub",
])
def test_a_password_that_would_be_guessed_early_is_refused_however_long(password: str) -> None:
    assert refusals(password) == ["too_common"]


def test_the_longest_password_is_judged_in_no_time() -> None:
    began = time.process_time()
    refusals("ab1qwe!Q" * 25)
    assert time.process_time() - began < 0.5


def test_what_looks_alike_is_one_password() -> None:
    assert normalised("Ｐａｓｓ é") == normalised("Pass e\u0301")


def test_a_random_password_can_be_read_aloud_and_is_accepted() -> None:
    made = {random_password() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        assert re.fullmatch(r"([a-km-np-z2-9]{4}-){5}[a-km-np-z2-9]{4}", password)
        assert refusals(password) == []


@pytest.mark.parametrize(("failures", "wait_s"), [(1, 0), (4, 0), (5, 1), (6, 2), (10, 32), (15, 900), (10_000, 900)])
def test_the_wait_doubles_after_the_free_failures_up_to_the_longest(failures: int, wait_s: float) -> None:
    assert Patience(free=5, longest_s=900).wait_s(failures) == wait_s


def test_a_counter_that_has_rested_a_day_starts_again() -> None:
    assert counted(4, None, NOW) == 1
    assert counted(4, NOW - dt.timedelta(hours=23), NOW) == 5
    assert counted(4, NOW - dt.timedelta(hours=25), NOW) == 1


def test_credentials_have_256_random_bits_and_tell_what_they_are() -> None:
    key, token = new_api_key(), new_session_token()
    assert re.fullmatch(r"hub_live_[0-9a-f]{12}_[\w-]{43}", key.shown)
    assert re.fullmatch(r"hub_session_[\w-]{43}", token.shown)
    for credential in (key, token):
        assert credential.sha256 == hashlib.sha256(credential.shown.encode()).hexdigest() == sha256_of(credential.shown)
        assert credential.shown.startswith(credential.prefix)
        assert credential.shown not in repr(credential)
    assert new_api_key().shown != key.shown
