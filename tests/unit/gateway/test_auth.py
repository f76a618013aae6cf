"""Who is asking, and how soon the gateway notices that the answer has changed."""

from __future__ import annotations

from typing import Any

import eventlet
import pytest

from chassis.context import Subject
from contracts.errors import Unauthenticated, Unavailable
from gateway.application import Application
from gateway.auth import Authenticator, Introspected, credential_hash
from gateway.errors import PasswordChangeRequired
from gateway.routes import ROUTES
from tests.unit.gateway.parcels import ID, TOKEN, FakeServices, problem_of

Sends = Any
HEADER = f"Bearer {TOKEN}"
NOBODY: Any = None


class Identity:
    """Answers introspection, and counts how often it was asked."""

    def __init__(self, lives_s: float = 3600.0) -> None:
        self.asked = 0
        self.lives_s = lives_s
        self.known = True
        self.away = False
        self.must_change = False

    def __call__(self, _caller: Any, _digest: str, _request_id: str) -> Introspected:
        self.asked += 1
        known = self.known
        eventlet.sleep(0.01)
        if self.away:
            raise Unavailable("identity is away")
        if not known:
            raise Unauthenticated("revoked")
        return Introspected(Subject("u1", "user", "Li Na"), self.lives_s, self.must_change)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_a_credential_the_answer_says_how_to_sign_in(send: Sends, services: FakeServices) -> None:
    answer = send("GET", f"/parcels/{ID}", signed_in=False)
    problem_of(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="crm-hub"'
    assert not services.asked


@pytest.mark.parametrize("header", [
    "Bearer short", f"Bearer {TOKEN}x", f"Bearer {TOKEN} {TOKEN}", "Bearer \u00fc" + "x" * 30,
])
def test_a_credential_of_nobody_is_an_invalid_token(send: Sends, services: FakeServices, header: str) -> None:
    answer = send("GET", f"/parcels/{ID}", signed_in=False, Authorization=header)
    problem_of(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="crm-hub", error="invalid_token"'
    assert not services.asked


def test_another_scheme_is_answered_with_ours(send: Sends) -> None:
    answer = send("GET", f"/parcels/{ID}", signed_in=False, Authorization="Basic YTpi")
    problem_of(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="crm-hub"'


def test_a_stranger_is_refused_before_the_body_is_looked_at(send: Sends) -> None:
    problem_of(send("POST", "/parcels", b"{", signed_in=False), 401, "unauthenticated")
    stranger = f"Bearer {TOKEN}x"
    problem_of(send("POST", "/parcels", b"{", signed_in=False, Authorization=stranger), 401, "unauthenticated")


def test_the_subject_of_the_credential_reaches_the_service(send: Sends, services: FakeServices) -> None:
    send("GET", f"/parcels/{ID}")
    assert services.options["subject"] == Subject("u1", "user", "Li Na")


def test_only_a_hash_of_the_credential_is_asked_about() -> None:
    assert TOKEN not in credential_hash(HEADER)
    assert credential_hash(HEADER) == credential_hash(HEADER.replace("Bearer", "bearer"))


def test_an_answer_is_reused_for_half_a_second_and_no_longer() -> None:
    identity, clock = Identity(), Clock()
    authenticator = Authenticator(identity, held_s=0.5, most=10, now=clock)
    for _ in range(5):
        authenticator.subject(HEADER, NOBODY, "r")
    assert identity.asked == 1

    clock.now += 0.5
    authenticator.subject(HEADER, NOBODY, "r")
    assert identity.asked == 2


def test_an_answer_is_not_reused_beyond_the_end_of_the_credential() -> None:
    identity, clock = Identity(lives_s=0.2), Clock()
    authenticator = Authenticator(identity, held_s=0.5, most=10, now=clock)
    authenticator.subject(HEADER, NOBODY, "r")
    clock.now += 0.2
    authenticator.subject(HEADER, NOBODY, "r")
    assert identity.asked == 2


def test_fifty_requests_at_once_ask_identity_once() -> None:
    identity = Identity()
    authenticator = Authenticator(identity, held_s=0.5, most=10)
    threads = [eventlet.spawn(authenticator.subject, HEADER, NOBODY, "r") for _ in range(50)]
    assert {thread.wait().id for thread in threads} == {"u1"}
    assert identity.asked == 1


def test_a_change_of_access_is_noticed_by_the_next_request() -> None:
    identity = Identity()
    authenticator = Authenticator(identity, held_s=0.5, most=10)
    authenticator.subject(HEADER, NOBODY, "r")
    identity.known = False
    authenticator.flush()
    with pytest.raises(Unauthenticated):
        authenticator.subject(HEADER, NOBODY, "r")


def test_an_answer_that_was_on_its_way_during_a_change_is_not_kept() -> None:
    identity = Identity()
    authenticator = Authenticator(identity, held_s=0.5, most=10)
    early = eventlet.spawn(authenticator.subject, HEADER, NOBODY, "r")
    eventlet.sleep(0.001)
    identity.known = False
    authenticator.flush()
    early.wait()
    with pytest.raises(Unauthenticated):
        authenticator.subject(HEADER, NOBODY, "r")


def test_identity_being_away_is_told_to_all_who_wait_and_not_kept() -> None:
    identity = Identity()
    identity.away = True
    authenticator = Authenticator(identity, held_s=0.5, most=10)
    for thread in [eventlet.spawn(authenticator.subject, HEADER, NOBODY, "r") for _ in range(3)]:
        with pytest.raises(Unavailable):
            thread.wait()
    identity.away = False
    assert authenticator.subject(HEADER, NOBODY, "r").id == "u1"


def test_a_flood_of_made_up_credentials_cannot_fill_the_memory() -> None:
    identity = Identity()
    authenticator = Authenticator(identity, held_s=0.5, most=10)
    for number in range(30):
        authenticator.subject(f"{HEADER}{number}", NOBODY, "r")
    assert len(authenticator._held) == 10


def test_a_first_password_is_good_for_a_new_one_and_for_nothing_else() -> None:
    identity = Identity()
    identity.must_change = True
    authenticator = Authenticator(identity, held_s=0.5, most=10)
    with pytest.raises(PasswordChangeRequired, match="POST /api/v1/me/password"):
        authenticator.subject(HEADER, NOBODY, "r")
    assert authenticator.subject(HEADER, NOBODY, "r", before_password_change=True).id == "u1"

    identity.must_change = False
    assert authenticator.subject(HEADER, NOBODY, "r").id == "u1", "the new password counts at once"


def test_what_is_open_before_the_password_is_changed_is_oneself_the_change_and_signing_out() -> None:
    assert {(route.method, route.path) for route in ROUTES if route.before_password_change} == {
        ("GET", "/me"), ("POST", "/me/password"), ("DELETE", "/sessions/{id}")}


def test_whoever_must_change_the_password_is_told_so_in_both_languages(
    send: Sends, monkeypatch: pytest.MonkeyPatch, application: Application
) -> None:
    identity = Identity()
    identity.must_change = True
    monkeypatch.setattr(application, "_authenticator", Authenticator(identity, held_s=0.5, most=10))
    said = problem_of(send("GET", f"/parcels/{ID}"), 403, "password_change_required")
    assert said["detail"] == "Change your password first: POST /api/v1/me/password"
    said = problem_of(send("GET", f"/parcels/{ID}", Accept_Language="zh-CN"), 403, "password_change_required")
    assert said["detail"] == "请先修改密码：POST /api/v1/me/password。"
