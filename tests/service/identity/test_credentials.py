"""API keys and sessions: shown once, never wider than their owner, ended at once."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import Any

import pytest
from sqlalchemy import text

from contracts.credentials import ListApiKeys, ListSessions
from contracts.errors import Forbidden, Invalid, NotFound, Unauthenticated
from contracts.schema import load
from services.identity.models import ApiKey, Session
from services.identity.operations import credentials, users
from services.identity.operations.upkeep import Sightings, prune
from services.identity.queries import credentials as queries

from .conftest import ROOT


def test_a_key_is_shown_once_and_only_its_hash_is_kept(identity: Any) -> None:
    wei = identity.user("wei", "integrator")
    made = identity.api_key(wei)
    assert re.fullmatch(r"hub_live_[0-9a-f]{12}_[\w-]{43}", made["key"])
    assert made["key"].startswith(made["prefix"])
    with identity.db.read() as session:
        assert made["key"] not in str(session.execute(text("SELECT * FROM api_key")).all())
        assert not hasattr(queries.get_api_key(session, made["id"], ROOT), "key")


def test_a_key_acts_for_its_owner_with_its_owners_rights_of_this_moment(identity: Any) -> None:
    wei = identity.user("wei", "integrator", "sales")
    key = identity.api_key(wei)
    subject = identity.introspect(key["key"])
    assert (subject.id, subject.kind, subject.name, subject.via) == (wei, "api_key", "erp", key["id"])
    assert subject.depth("customer", "read") == "own"
    with identity.db.write() as session:
        users.change(session, wei, {"role_ids": []}, ROOT)
    assert identity.introspect(key["key"]).depth("customer", "read") == "none"


def test_scopes_narrow_and_never_widen(identity: Any) -> None:
    wei = identity.user("wei", "admin")
    key = identity.api_key(wei, scopes={"order": {"read": "all", "confirm": "team"}})["key"]
    subject = identity.introspect(key)
    assert subject.depth("order", "read") == "all"
    assert subject.depth("order", "confirm") == "team"
    assert subject.depth("order", "cancel") == "none"
    assert subject.depth("customer", "read") == "none"
    identity.user("boss", "admin")
    with identity.db.write() as session:
        users.change(session, wei, {"role_ids": ["00000000-0000-7000-8000-000000000003"]}, ROOT)
    assert identity.introspect(key).depth("order", "read") == "own"


def test_scopes_that_the_owner_does_not_have_are_refused(identity: Any) -> None:
    wei = identity.user("wei", "integrator")
    with pytest.raises(Invalid) as refused:
        identity.api_key(wei, scopes={"customer": {"read": "all"}})
    assert refused.value.fields["errors"][0]["code"] == "exceeds_owner"


def test_scopes_that_nothing_asks_for_are_refused_each_at_its_place(identity: Any) -> None:
    wei = identity.user("wei", "admin")
    with pytest.raises(Invalid) as refused:
        identity.api_key(wei, scopes={"ordr": {"read": "all"}, "order": {"fly": "all", "read": "all"}})
    assert [one["pointer"] for one in refused.value.fields["errors"]] == ["/scopes/ordr", "/scopes/order/fly"]


def test_a_key_makes_no_keys(identity: Any) -> None:
    wei = identity.user("wei", "admin")
    program = identity.introspect(identity.api_key(wei, scopes={"api_key": {"*": "all"}})["key"])
    with pytest.raises(Forbidden):
        identity.api_key(wei, by=program)


def test_nobody_makes_a_key_of_somebody_who_may_do_more(identity: Any) -> None:
    helper = dataclasses.replace(identity.subject(identity.user("helper")), depths={"api_key": {"create": "all"}})
    boss = identity.user("boss", "admin")
    with pytest.raises(Forbidden):
        identity.api_key(boss, by=helper)
    with pytest.raises(NotFound):
        identity.api_key(boss, by=identity.subject(identity.user("wei", "integrator")))


def test_a_key_expires_and_cannot_be_asked_for_for_ever(identity: Any) -> None:
    wei = identity.user("wei", "integrator")
    now = dt.datetime.now(dt.UTC)
    key = identity.api_key(wei, expires_at=(now + dt.timedelta(days=1)).isoformat())["key"]
    assert identity.introspect(key)
    with pytest.raises(Unauthenticated):
        identity.introspect(key, now + dt.timedelta(days=1, seconds=1))
    for days in (-1, 367):
        with pytest.raises(Invalid):
            identity.api_key(wei, expires_at=(now + dt.timedelta(days=days)).isoformat())


def test_a_revoked_key_is_dead_at_once_and_the_gateways_are_told(identity: Any) -> None:
    wei = identity.user("wei", "integrator")
    key = identity.api_key(wei)
    for _ in range(2):
        with identity.db.write() as session:
            credentials.revoke_api_key(session, key["id"], ROOT)
    with pytest.raises(Unauthenticated):
        identity.introspect(key["key"])
    assert identity.events().count(("access.changed", wei)) == 1


def test_keys_and_sessions_of_others_do_not_exist(identity: Any) -> None:
    wei, zhu = identity.user("wei", "integrator"), identity.user("zhu", "integrator")
    key, opened = identity.api_key(wei), identity.sign_in("wei")["session"]
    me, other = identity.subject(wei), identity.subject(zhu)
    with identity.db.read() as session:
        assert len(queries.api_keys(session, load(ListApiKeys, {}), me, identity.codec).items) == 1
        assert len(queries.sessions(session, load(ListSessions, {}), me, identity.codec).items) == 1
        assert queries.api_keys(session, load(ListApiKeys, {}), other, identity.codec).items == []
        assert queries.sessions(session, load(ListSessions, {"user_id": wei}), other, identity.codec).items == []
        with pytest.raises(NotFound):
            queries.get_api_key(session, key["id"], other)
    for act in (credentials.revoke_api_key, credentials.revoke_session):
        with pytest.raises(NotFound), identity.db.write() as session:
            act(session, key["id"] if act is credentials.revoke_api_key else opened.id, other)


def test_a_narrow_key_neither_sees_nor_ends_its_owners_sessions_and_keys(identity: Any) -> None:
    wei = identity.user("wei", "admin")
    opened = identity.sign_in("wei")["session"]
    program = identity.introspect(identity.api_key(wei, scopes={"order": {"read": "all"}})["key"])
    with identity.db.read() as session:
        assert queries.sessions(session, load(ListSessions, {}), program, identity.codec).items == []
        assert queries.api_keys(session, load(ListApiKeys, {}), program, identity.codec).items == []
    with pytest.raises(NotFound), identity.db.write() as session:
        credentials.revoke_session(session, opened.id, program)


def test_somebody_without_any_role_still_has_the_own_keys_and_sessions(identity: Any) -> None:
    wei = identity.user("wei", "integrator")
    key, opened = identity.api_key(wei), identity.sign_in("wei")
    with identity.db.write() as session:
        users.change(session, wei, {"role_ids": []}, ROOT)
    bare = identity.subject(wei)
    with identity.db.write() as session:
        assert credentials.revoke_api_key(session, key["id"], bare).revoked_at
        assert credentials.revoke_session(session, opened["session"].id, bare).revoked_at
    with pytest.raises(Unauthenticated):
        identity.introspect(opened["token"])


def test_use_is_written_once_a_minute_and_keeps_a_session_alive(identity: Any) -> None:
    wei = identity.user("wei", "integrator")
    key, signed_in = identity.api_key(wei), identity.sign_in("wei")
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=10)
    sightings = Sightings()
    for _ in range(3):
        sightings.note("user", signed_in["session"].id, later)
        sightings.note("api_key", key["id"], later)
    assert sightings.write(identity.db, idle_h=12) == 2
    assert sightings.write(identity.db, idle_h=12) == 0
    with identity.db.read() as session:
        assert session.get_one(ApiKey, key["id"]).last_used_at == later
        assert session.get_one(Session, signed_in["session"].id).last_seen_at == later
    assert identity.introspect(signed_in["token"], later + dt.timedelta(hours=11))
    with pytest.raises(Unauthenticated):
        identity.introspect(signed_in["token"], later + dt.timedelta(hours=12, seconds=1))


def test_what_is_past_keeping_is_deleted_and_nothing_else(identity: Any) -> None:
    identity.user("wei")
    token = identity.sign_in("wei")["token"]
    now = dt.datetime.now(dt.UTC)
    prune(identity.db, 366, now)
    assert identity.introspect(token)
    prune(identity.db, 366, now + dt.timedelta(days=400))
    with identity.db.read() as session:
        for table in ("session", "login_event", "sign_in_guard"):
            assert session.execute(text(f"SELECT * FROM {table}")).all() == []
