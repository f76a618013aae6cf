"""Signing in, being kept out, and passwords."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import Any

import eventlet
import pytest
import time_machine
from sqlalchemy import func, select, text

from chassis.context import Subject
from chassis.database import utcnow
from contracts.credentials import ListLoginEvents
from contracts.errors import Conflict, Forbidden, Invalid, NotFound, TooManyRequests, Unauthenticated, Unavailable
from contracts.schema import load
from services.identity.domain.credentials import sha256_of
from services.identity.models import LoginEvent, Session, SignInGuard, User
from services.identity.operations import passwords, sign_in, users
from services.identity.operations.hashing import Hasher
from services.identity.queries import credentials as queries
from services.identity.queries.introspection import claims_of

from .conftest import PASSWORD, ROOT

NEW = "another fine passphrase"


def own(current: str = PASSWORD, new: str = NEW) -> dict[str, str]:
    return {"current_password": current, "new_password": new}


def outcomes(identity: Any) -> list[str]:
    with identity.db.read() as session:
        return list(session.scalars(select(LoginEvent.outcome).order_by(LoginEvent.id)))


def hash_at_full_cost(identity: Any) -> None:
    """Hash as the product does, for what the cost itself is about."""
    identity.gate = dataclasses.replace(identity.gate, hasher=Hasher(19, 2))


def test_a_session_opens_with_a_token_that_is_not_kept(identity: Any) -> None:
    wei = identity.user("wei", "sales")
    token = identity.sign_in("wei")["token"]
    assert re.fullmatch(r"hub_session_[\w-]{43}", token)
    subject = identity.introspect(token)
    assert (subject.id, subject.kind, subject.name) == (wei, "user", "Wei")
    assert subject.depth("customer", "read") == "own"
    with identity.db.read() as session:
        row = session.execute(text("SELECT * FROM session")).mappings().one()
        assert token not in str(dict(row))
        assert subject.via == row["id"]
        assert session.scalars(select(User)).one().last_sign_in_at is not None


def test_the_name_may_be_typed_in_capitals_or_full_width(identity: Any) -> None:
    identity.user("wei")
    assert identity.sign_in(" WEI ")["token"]
    assert identity.sign_in("ｗｅｉ")["token"]


def test_the_password_may_be_typed_in_another_unicode_form(identity: Any, settings: Any) -> None:
    assert Hasher(19, 1).verify(identity.gate.hasher.hash("Ａbcdefghijkl é"), "Abcdefghijkl e\u0301")


def test_every_refusal_gives_the_same_answer(identity: Any) -> None:
    identity.user("wei")
    gone = identity.user("gone")
    with identity.db.write() as session:
        users.disable(session, gone, ROOT)
        users.create(session, {"username": "fresh", "name": "no password yet"}, ROOT)
    answers = set()
    for username, password in (("wei", "wrong"), ("nobody", PASSWORD), ("gone", PASSWORD), ("fresh", "")):
        with pytest.raises(Unauthenticated) as refused:
            identity.sign_in(username, password)
        answers.add(str(refused.value.to_wire()))
    assert len(answers) == 1
    assert outcomes(identity) == ["wrong_password", "unknown_user", "disabled", "wrong_password"]


def test_every_refusal_costs_one_hash_whether_the_name_is_known_or_not(
    identity: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hash_at_full_cost(identity)
    identity.user("wei")
    gone = identity.user("gone")
    with identity.db.write() as session:
        users.disable(session, gone, ROOT)
    verified: list[str] = []
    in_turn = identity.gate.hasher._in_turn

    def counted(function: Any, *arguments: Any) -> Any:
        verified.append(arguments[0].split("$")[3])
        return in_turn(function, *arguments)

    monkeypatch.setattr(identity.gate.hasher, "_in_turn", counted)
    for username in ("wei", "nobody", "gone"):
        with pytest.raises(Unauthenticated):
            identity.sign_in(username, "wrong")
    assert verified == ["m=19456,t=3,p=1"] * 3


def test_a_name_that_nobody_has_is_nowhere_in_the_database(identity: Any) -> None:
    with pytest.raises(Unauthenticated):
        identity.sign_in("my-secret-password", "x")
    with identity.db.read() as session:
        for table in ("login_event", "sign_in_guard", "outbox"):
            assert "my-secret" not in str(session.execute(text(f"SELECT * FROM {table}")).all())


class TestLockout:
    def test_after_the_free_failures_even_the_right_password_must_wait_ever_longer(self, identity: Any) -> None:
        identity.user("wei")
        now = dt.datetime.now(dt.UTC)
        waits = []
        with time_machine.travel(now, tick=False) as clock:
            for _ in range(9):
                with pytest.raises(Unauthenticated):
                    identity.sign_in("wei", "wrong")
                try:
                    identity.sign_in("nobody-else", "wrong")
                except Unauthenticated:
                    pass
                except TooManyRequests:
                    break
                wait = self.wait_of(identity, "wei")
                waits.append(wait)
                clock.shift(wait)
        assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16]

    @staticmethod
    def wait_of(identity: Any, username: str) -> float:
        """Knock with the right password to hear the wait, without counting as an attempt; 0 if the door is open."""
        from services.identity.operations.attempts import user_key

        with identity.db.read() as session:
            guard = session.get(SignInGuard, user_key(identity.gate.keyring, username))
        if guard is None or guard.locked_until is None:
            return 0
        with pytest.raises(TooManyRequests) as refused:
            identity.sign_in(username, PASSWORD)
        assert refused.value.retry_after_s is not None
        return refused.value.retry_after_s

    def test_a_name_that_nobody_has_is_locked_like_any_other(self, identity: Any) -> None:
        for _ in range(5):
            with pytest.raises(Unauthenticated):
                identity.sign_in("nobody", "wrong")
        with pytest.raises(TooManyRequests):
            identity.sign_in("nobody", "wrong")

    def test_a_success_forgets_the_failures(self, identity: Any) -> None:
        identity.user("wei")
        for _ in range(3):
            for _ in range(4):
                with pytest.raises(Unauthenticated):
                    identity.sign_in("wei", "wrong")
            assert identity.sign_in("wei")["token"]

    def test_one_source_that_tries_many_names_is_slowed_down(self, identity: Any) -> None:
        gate = dataclasses.replace(
            identity.gate, settings=dataclasses.replace(identity.gate.settings, source_free_failures=6)
        )
        identity.gate = gate
        identity.user("wei")
        for n in range(6):
            with pytest.raises(Unauthenticated):
                identity.sign_in(f"name{n}", "wrong", source="203.0.113.9")
        with pytest.raises(TooManyRequests):
            identity.sign_in("wei", source="203.0.113.9")
        assert identity.sign_in("wei", source="10.0.0.7")["token"]

    def test_guesses_sent_at_once_are_not_judged_beyond_the_free_ones(
        self, identity: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        identity.user("wei")
        now = dt.datetime.now(dt.UTC)
        monkeypatch.setattr(sign_in, "utcnow", lambda: now)

        def guess(n: int) -> type[BaseException] | None:
            try:
                identity.sign_in("wei", f"guess {n}")
            except (Unauthenticated, TooManyRequests) as refused:
                return type(refused)
            return None

        answers = list(eventlet.GreenPool(20).imap(guess, range(20)))
        assert answers.count(Unauthenticated) == 5
        assert answers.count(TooManyRequests) == 15

    def test_a_new_password_from_an_administrator_ends_the_lock(self, identity: Any) -> None:
        wei = identity.user("wei")
        for _ in range(5):
            with pytest.raises(Unauthenticated):
                identity.sign_in("wei", "wrong")
        given = passwords.reset(identity.gate, wei, ROOT)["password"]
        assert identity.sign_in("wei", given)["must_change_password"]


class TestSessions:
    def test_a_session_ends_when_idle_and_in_any_case_at_its_latest(self, identity: Any) -> None:
        identity.user("wei")
        token = identity.sign_in("wei")["token"]
        now = dt.datetime.now(dt.UTC)
        assert identity.introspect(token, now + dt.timedelta(hours=11.9))
        with pytest.raises(Unauthenticated):
            identity.introspect(token, now + dt.timedelta(hours=12.1))

    def test_an_unknown_credential_is_refused(self, identity: Any) -> None:
        for credential in ("", "hub_session_x", "hub_live_a_b"):
            with pytest.raises(Unauthenticated):
                identity.introspect(credential)

    def test_rights_of_a_session_are_those_of_this_moment(self, identity: Any) -> None:
        wei = identity.user("wei", "sales")
        token = identity.sign_in("wei")["token"]
        with identity.db.write() as session:
            users.change(session, wei, {"role_ids": []}, ROOT)
        assert identity.introspect(token).depths == {}


class TestPasswords:
    def test_a_person_changes_the_own_password_and_other_sessions_end(self, identity: Any) -> None:
        identity.user("wei")
        here, there = (identity.sign_in("wei")["token"] for _ in range(2))
        passwords.change_own(identity.gate, own(), identity.introspect(here))
        assert identity.introspect(here)
        with pytest.raises(Unauthenticated):
            identity.introspect(there)
        with pytest.raises(Unauthenticated):
            identity.sign_in("wei", PASSWORD)
        assert identity.sign_in("wei", NEW)["token"]

    @pytest.mark.parametrize(
        ("new", "code"), [("short", "too_short"), (PASSWORD, "unchanged"), ("my name is Wei, hello", "holds_username")]
    )
    def test_a_poor_new_password_is_refused_with_the_reason(self, identity: Any, new: str, code: str) -> None:
        identity.user("wei")
        me = identity.introspect(identity.sign_in("wei")["token"])
        with pytest.raises(Invalid) as refused:
            passwords.change_own(identity.gate, own(new=new), me)
        assert refused.value.fields["errors"][0]["code"] == code
        assert refused.value.fields["errors"][0]["pointer"] == "/new_password"

    def test_everything_that_is_wrong_is_told_at_once(self, identity: Any) -> None:
        identity.user("wei")
        me = identity.introspect(identity.sign_in("wei")["token"])
        with pytest.raises(Invalid) as refused:
            passwords.change_own(identity.gate, own(current="wrong", new="wei"), me)
        told = [(fault["pointer"], fault["code"]) for fault in refused.value.fields["errors"]]
        assert told == [("/current_password", "wrong"), ("/new_password", "too_short"),
                        ("/new_password", "holds_username"), ("/new_password", "too_common")]

    def test_a_common_password_is_refused(self, identity: Any) -> None:
        identity.user("wei")
        me = identity.introspect(identity.sign_in("wei")["token"])
        with pytest.raises(Invalid) as refused:
            passwords.change_own(identity.gate, own(new="password1234"), me)
        assert [fault["code"] for fault in refused.value.fields["errors"]] == ["too_common"]

    def test_a_stolen_session_is_no_place_to_guess_the_password(self, identity: Any) -> None:
        identity.user("wei")
        me = identity.introspect(identity.sign_in("wei")["token"])
        for _ in range(5):
            with pytest.raises(Invalid):
                passwords.change_own(identity.gate, own(current="wrong"), me)
        with pytest.raises(TooManyRequests):
            passwords.change_own(identity.gate, own(), me)

    def test_an_api_key_changes_no_password(self, identity: Any) -> None:
        wei = identity.user("wei")
        with pytest.raises(Forbidden):
            passwords.change_own(identity.gate, own(), dataclasses.replace(identity.subject(wei), kind="api_key"))

    def test_a_given_password_admits_to_nothing_until_it_is_changed(self, identity: Any) -> None:
        wei = identity.user("wei", "admin")
        old = identity.sign_in("wei")["token"]
        given = passwords.reset(identity.gate, wei, ROOT)["password"]
        with pytest.raises(Unauthenticated):
            identity.introspect(old)
        token = identity.sign_in("wei", given)["token"]
        subject = identity.introspect(token)
        assert subject.depths == {}
        with identity.db.read() as session:
            assert claims_of(session, sha256_of(token), utcnow())["must_change_password"]
        passwords.change_own(identity.gate, own(current=given), subject)
        assert identity.introspect(identity.sign_in("wei", NEW)["token"]).depth("user", "create") == "all"

    def test_nobody_resets_the_own_password_or_one_out_of_reach(self, identity: Any) -> None:
        wei, boss = identity.user("wei", "sales"), identity.user("boss", "admin")
        with pytest.raises(Forbidden):
            passwords.reset(identity.gate, boss, identity.subject(boss))
        with pytest.raises(NotFound):
            passwords.reset(identity.gate, boss, identity.subject(wei))

    def test_of_two_changes_at_once_one_is_told(self, identity: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        wei = identity.user("wei")
        me = identity.introspect(identity.sign_in("wei")["token"])
        hash_ = identity.gate.hasher.hash

        def reset_meanwhile(password: str) -> str:
            monkeypatch.undo()
            passwords.reset(identity.gate, wei, ROOT)
            return str(hash_(password))

        monkeypatch.setattr(identity.gate.hasher, "hash", reset_meanwhile)
        with pytest.raises(Conflict):
            passwords.change_own(identity.gate, own(), me)

    def test_a_user_disabled_while_the_hash_is_computed_gets_no_session(
        self, identity: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wei = identity.user("wei")
        verify = identity.gate.hasher.verify

        def disable_meanwhile(kept: str, password: str) -> bool:
            with identity.db.write() as session:
                users.disable(session, wei, ROOT)
            return bool(verify(kept, password))

        monkeypatch.setattr(identity.gate.hasher, "verify", disable_meanwhile)
        with pytest.raises(Unauthenticated):
            identity.sign_in("wei")
        with identity.db.read() as session:
            assert session.scalar(select(func.count()).select_from(Session)) == 0

    def test_a_hash_made_with_other_costs_is_renewed_at_the_next_sign_in(self, identity: Any) -> None:
        hash_at_full_cost(identity)
        wei = identity.user("wei")
        with identity.db.write() as session:
            passwords.put(session.get_one(User, wei), Hasher(20, 1).hash(PASSWORD), must_change=False)
        identity.sign_in("wei")
        with identity.db.read() as session:
            kept = session.get_one(User, wei).password_hash
        assert kept is not None
        assert "m=19456," in kept
        assert identity.sign_in("wei")["token"]

    def test_the_hash_names_argon2id_and_holds_no_password(self, identity: Any) -> None:
        hash_at_full_cost(identity)
        identity.user("wei")
        with identity.db.read() as session:
            kept = session.scalars(select(User.password_hash)).one()
        assert kept is not None
        assert kept.startswith("$argon2id$v=19$m=19456,t=3,p=1$")


def test_attempts_to_sign_in_are_seen_by_oneself_and_by_those_above(identity: Any) -> None:
    north = identity.team("north")
    wei = identity.user("wei", "sales", team_ids=(north,))
    boss = identity.user("boss", "manager", team_ids=(north,))
    identity.sign_in("wei")
    with pytest.raises(Unauthenticated):
        identity.sign_in("nobody")

    def seen(subject: Subject) -> set[str | None]:
        with identity.db.read() as session:
            page = queries.login_events(session, load(ListLoginEvents, {}), subject, identity.codec)
            return {event.user_id for event in page.items}

    assert seen(identity.subject(wei)) == {wei}
    assert seen(identity.subject(boss)) == {wei}
    assert seen(ROOT) == {wei, None}


@pytest.mark.parametrize("door", ["sign_in", "change_own"])
def test_an_attempt_that_is_too_busy_to_be_judged_locks_nobody_out(
    identity: Any, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    ada = identity.user("ada")

    def too_busy(*_: object) -> bool:
        raise Unavailable("Too many people are signing in at once", retry_after_s=2)

    tries = {"sign_in": lambda: identity.sign_in("ada"),
             "change_own": lambda: passwords.change_own(identity.gate, own(), identity.subject(ada))}
    with monkeypatch.context() as busy:
        busy.setattr(identity.gate.hasher, "verify", too_busy)
        for _ in range(identity.gate.settings.user_free_failures + 5):
            with pytest.raises(Unavailable):
                tries[door]()
    assert identity.sign_in("ada")["token"]
