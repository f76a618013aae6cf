"""What Ghost's answers mean, its webhooks, and the poll where it has too much to tell; played by a scripted server."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema_rs
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from hub_adapter.client import HttpPolicy, Transport
from hub_adapter.failure import AuthRefused, ErrorClass, InDoubt, Invalid
from hub_adapter.port import Change, Context, Write
from hub_adapter.settings import SettingsError
from services.integrations.adapters.ghost import mapping
from services.integrations.adapters.ghost.adapter import GhostAdapter
from services.integrations.adapters.ghost.settings import CONFIG_SCHEMA, GhostSettings
from tests.support.scripted_http import Part, ScriptedServer, Seen, answer

NEWSLETTER, MEMBER = "a" * 24, "b" * 24
SECRETS = {"admin_key": f"{'c' * 24}:{'0d' * 32}", "webhook_secret": "the-hook-secret"}
NOW = datetime(2026, 11, 22, 2, 0, 0, 500_000, tzinfo=UTC)
CONFIG: dict[str, Any] = {"base_url": "https://news.example.com", "newsletter": NEWSLETTER}
Script = Callable[[Seen], Sequence[Part]]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def ctx(server: ScriptedServer) -> Iterator[Context]:
    transport = Transport(HttpPolicy(allow_private=("127.0.0.0/8",)))
    yield Context(
        http=transport.session(secrets=SECRETS.values()),
        secrets=SECRETS,
        config=CONFIG | {"base_url": server.url},
        clock=lambda: NOW,
        deadline=NOW + timedelta(seconds=25),
    )
    transport.close()


def member(id: str = MEMBER, *, subscribed: bool = True, **changed: Any) -> dict[str, Any]:
    newsletters = [{"id": NEWSLETTER}] if subscribed else []
    known = {"id": id, "email": "a@example.com", "name": "A", "note": "hub:p-1", "labels": []}
    return known | {"updated_at": "2026-11-22T01:00:00.000Z", "newsletters": newsletters} | changed


def event(n: int, at: str = "2026-11-22T01:00:00.000Z", *, subscribed: bool = True) -> dict[str, Any]:
    about = {"member_id": f"{n:024x}", "newsletter_id": NEWSLETTER, "created_at": at, "subscribed": subscribed}
    return {"type": "newsletter_event", "data": about}


def said(**answer_of: Any) -> Sequence[Part]:
    return answer(200, json.dumps(answer_of).encode())


def refused(status: int, context: str, code: str | None = None) -> Sequence[Part]:
    return answer(status, json.dumps({"errors": [{"message": "No.", "context": context, "code": code}]}).encode())


def person(at: str = "2020-01-01T00:00:00Z", external_id: str | None = None) -> Write:
    body = {"id": "p-1", "email": "a@example.com", "name": "A", "consent": {"email": {"state": "granted", "at": at}}}
    return Write(local_id="p-1", body=body, idempotency_key="k", source_version=1, external_id=external_id)


def asked(seen: Seen) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(seen.path).query).items()}


# --- what an answer means --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "to_question", "to_change"),
    [
        (400, "INVALID_JWT", ErrorClass.AUTH, ErrorClass.AUTH),
        (401, "UNKNOWN_ADMIN_API_KEY", ErrorClass.AUTH, ErrorClass.AUTH),
        (403, None, ErrorClass.AUTH, ErrorClass.AUTH),
        (422, None, ErrorClass.INVALID, ErrorClass.INVALID),
        (429, None, ErrorClass.RATE_LIMITED, ErrorClass.RATE_LIMITED),
        (500, None, ErrorClass.TRANSIENT, ErrorClass.TRANSIENT),
        (502, None, ErrorClass.TRANSIENT, ErrorClass.AMBIGUOUS),
        (503, None, ErrorClass.TRANSIENT, ErrorClass.TRANSIENT),
        (301, None, ErrorClass.TRANSIENT, ErrorClass.TRANSIENT),
    ],
)
def test_each_answer_has_its_class(
    server: ScriptedServer, ctx: Context, status: int, code: str | None, to_question: ErrorClass, to_change: ErrorClass
) -> None:
    adapter = GhostAdapter()
    server.script = lambda seen: refused(status, "Because.", code)
    with pytest.raises(Exception, match="Because") as asking:
        adapter.get(ctx, "contact", MEMBER)
    server.script = lambda seen: said(members=[]) if seen.method == "GET" else refused(status, "Because.", code)
    with pytest.raises(Exception, match="Because") as changing:
        adapter.write(ctx, "contact", person())
    assert [adapter.classify(told.value).error_class for told in (asking, changing)] == [to_question, to_change]


def test_a_creation_whose_answer_breaks_off_is_in_doubt(server: ScriptedServer, ctx: Context) -> None:
    server.script = lambda seen: said(members=[]) if seen.method == "GET" else [b"HTTP/1.1 201 Created\r\nContent-Le"]
    with pytest.raises(InDoubt):
        GhostAdapter().write(ctx, "contact", person())


def test_a_member_who_turns_up_while_it_is_made_is_adopted(server: ScriptedServer, ctx: Context) -> None:
    made: list[Seen] = []

    def script(seen: Seen) -> Sequence[Part]:
        if seen.method == "POST":
            made.append(seen)
            return refused(422, "Member already exists.")
        return said(members=[member()] if made else [])

    server.script = script
    written = GhostAdapter().write(ctx, "contact", person())
    assert (written.external_id, written.adopted, written.details["state"]) == (MEMBER, True, "subscribed")


def test_a_call_is_signed_with_the_key_for_a_short_time(server: ScriptedServer, ctx: Context) -> None:
    server.script = lambda seen: said(members=[member()])
    GhostAdapter().get(ctx, "contact", MEMBER)
    scheme, _, token = server.requests[0].headers["authorization"].partition(" ")
    read = jwt.decode(token, OctKey.import_key(bytes.fromhex("0d" * 32)), algorithms=["HS256"])
    assert (scheme, read.header["kid"], read.claims["aud"]) == ("Ghost", "c" * 24, "/admin/")
    assert read.claims["iat"] == int(NOW.timestamp()) < read.claims["exp"] <= read.claims["iat"] + 300


# --- a refusal wins --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted_at", "state"),
    [
        ("2026-11-22T00:59:59.999Z", "refused there"),
        ("2026-11-22T01:00:00.000Z", "refused there"),
        ("2026-11-22T01:00:00.999Z", "refused there"),  # in the second of the refusal: nobody knows which was first
        ("2026-11-22T01:00:01.000Z", "subscribed"),
    ],
)
def test_only_consent_that_is_younger_than_a_refusal_counts(
    server: ScriptedServer, ctx: Context, granted_at: str, state: str
) -> None:
    left = event(int(MEMBER, 16), subscribed=False)

    def script(seen: Seen) -> Sequence[Part]:
        if "/events/" in seen.path:
            return said(events=[left])
        return said(members=[member(subscribed=seen.method == "PUT")])

    server.script = script
    written = GhostAdapter().write(ctx, "contact", person(granted_at, MEMBER))
    assert written.details["state"] == state
    assert (written.remote_version is None) == (state == "refused there")


def test_a_refusal_that_others_push_out_of_the_page_is_found(server: ScriptedServer, ctx: Context) -> None:
    quiet = event(2, subscribed=False)

    def script(seen: Seen) -> Sequence[Part]:
        if "/events/" not in seen.path:
            return said(members=[member(f"{n:024x}", subscribed=False) for n in (1, 2)])
        return said(events=[quiet] if "[" + f"'{2:024x}'" + "]" in asked(seen)["filter"] else [event(1)] * 100)

    server.script = script
    page = GhostAdapter().list(ctx, "contact", None, 100)
    assert page.items[1].body["consent"]["email"]["state"] == "refused"


# --- the poll --------------------------------------------------------------------------------------------------------


def polled(ctx: Context, checkpoint: str | None) -> tuple[list[Change], str]:
    told: list[Change] = []
    while True:
        page = GhostAdapter().changes(ctx, "contact", checkpoint, 2)
        assert page.next_cursor is not None
        told, checkpoint = told + list(page.items), page.next_cursor
        if page.complete:
            return told, checkpoint


def site(events: Callable[[dict[str, str]], list[dict[str, Any]]]) -> Script:
    """A Ghost with five members."""
    everybody = [f"{n:024x}" for n in range(1, 6)]

    def script(seen: Seen) -> Sequence[Part]:
        query = asked(seen)
        if "/events/" in seen.path:
            return said(events=events(query))
        clause = query["filter"]
        if clause.startswith("id:>"):
            behind = [one for one in everybody if one > clause[len("id:>'") : -1]]
            return said(members=[member(one) for one in behind[: int(query["limit"])]])
        return said(members=[member(one) for one in everybody if one in clause])

    return script


def test_the_first_poll_walks_everybody_and_a_later_one_asks_for_events(server: ScriptedServer, ctx: Context) -> None:
    server.script = site(lambda query: [])
    told, checkpoint = polled(ctx, None)
    assert len(told) == 5
    assert polled(ctx, checkpoint)[0] == []
    server.script = site(lambda query: [event(3, "2026-11-22T01:30:00.000Z")])
    told, checkpoint = polled(ctx, checkpoint)
    assert [one.external_id for one in told] == [f"{3:024x}"]
    server.requests.clear()
    polled(ctx, checkpoint)
    # Two minutes before the newest event, in the only form of a time that Ghost compares rightly.
    assert "data.created_at:>='2026-11-22 01:28:00'" in asked(server.requests[0])["filter"]


def test_more_events_than_a_page_are_walked_back_second_by_second(server: ScriptedServer, ctx: Context) -> None:
    def events(query: dict[str, str]) -> list[dict[str, Any]]:
        if "<='2026-11-22 01:00:07'" in query["filter"]:
            return [event(2)]
        return [event(1, "2026-11-22T01:00:07.000Z")] * 100

    server.script = site(lambda query: [])
    _, checkpoint = polled(ctx, None)
    server.script = site(events)
    assert [one.external_id for one in polled(ctx, checkpoint)[0]] == [f"{1:024x}", f"{2:024x}"]


def test_more_in_one_second_than_ghost_can_tell_makes_the_poll_walk_everybody(
    server: ScriptedServer, ctx: Context
) -> None:
    server.script = site(lambda query: [])
    _, checkpoint = polled(ctx, None)
    server.script = site(lambda query: [event(1)] * 100)
    assert len(polled(ctx, checkpoint)[0]) == 5


# --- webhooks --------------------------------------------------------------------------------------------------------


def message(current: Any, previous: Any = None, *, at: datetime = NOW, secret: str = "the-hook-secret") -> Any:
    body = json.dumps({"member": {"current": current, "previous": previous or {}}}).encode()
    stamp = str(int(at.timestamp() * 1000))
    signature = hmac.new(secret.encode(), body + stamp.encode(), hashlib.sha256).hexdigest()
    return {"X-Ghost-Signature": f"sha256={signature}, t={stamp}"}, body


def test_who_leaves_is_told_with_the_moment_for_whatever_is_routed_here(ctx: Context) -> None:
    left = message(member(subscribed=False), {"newsletters": [{"id": NEWSLETTER}]})
    told = GhostAdapter().parse_webhook(ctx, *left)
    assert [one.entity for one in told] == ["contact", "customer"]
    consent = {"email": {"state": "refused", "at": "2026-11-22T02:00:00.500Z"}}
    assert told[0].body == {"email": "a@example.com", "name": "A", "consent": consent}
    assert (told[0].external_id, told[0].op, told[0].changed_at) == (MEMBER, "upsert", NOW)


def test_a_message_carries_the_version_that_a_write_tells(server: ScriptedServer, ctx: Context) -> None:
    server.script = lambda seen: said(members=[member()])
    written = GhostAdapter().write(ctx, "contact", person(external_id=MEMBER))
    assert written.remote_version is not None
    assert GhostAdapter().parse_webhook(ctx, *message(member()))[0].version == written.remote_version


def test_of_somebody_who_was_never_on_the_newsletter_nothing_is_said(ctx: Context) -> None:
    other = message(member(subscribed=False), {"newsletters": [{"id": "f" * 24}]})
    assert GhostAdapter().parse_webhook(ctx, *other)[0].body["consent"] == {}


def test_a_deleted_member_is_told_as_deleted(ctx: Context) -> None:
    (told, _) = GhostAdapter().parse_webhook(ctx, *message({}, {"id": MEMBER}))
    assert (told.op, told.external_id) == ("delete", MEMBER)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_message_from_another_time_is_refused(ctx: Context, seconds: int) -> None:
    with pytest.raises(AuthRefused, match="stamp"):
        GhostAdapter().parse_webhook(ctx, *message(member(), at=NOW + timedelta(seconds=seconds)))
    inside = timedelta(seconds=seconds - 2 if seconds > 0 else seconds + 2)
    assert GhostAdapter().parse_webhook(ctx, *message(member(), at=NOW + inside))


def test_a_message_that_is_not_signed_with_our_secret_is_refused(ctx: Context) -> None:
    headers, body = message(member())
    signature, _, stamp = headers["X-Ghost-Signature"].partition(", ")
    forged = [
        message(member(), secret="another"),
        ({}, body),
        (headers, body + b" "),
        ({"X-Ghost-Signature": signature}, body),
        ({"X-Ghost-Signature": f"{signature},{stamp}"}, body),
        ({"X-Ghost-Signature": f" {signature}, {stamp}"}, body),
        ({"X-Ghost-Signature": f"{signature}, t=2{stamp[3:]}"}, body),
        ({"X-Ghost-Signature": f"sha256={'0' * 64}, {stamp}"}, body),
        ({"X-Ghost-Signature": f"{signature}, t=٣"}, body),
    ]
    for each in forged:
        with pytest.raises(AuthRefused):
            GhostAdapter().parse_webhook(ctx, *each)
    assert GhostAdapter().parse_webhook(ctx, {"x-ghost-signature": headers["X-Ghost-Signature"]}, body)


def test_a_signed_message_about_something_else_is_unreadable(ctx: Context) -> None:
    for current in ({"title": "a post"}, [], 3, None):
        with pytest.raises(Invalid):
            GhostAdapter().parse_webhook(ctx, *message(current))


# --- mapping and settings --------------------------------------------------------------------------------------------


def test_a_quote_in_an_address_stays_inside_its_text() -> None:
    assert mapping.quoted("o'brien\\+x") == "'o\\'brien\\\\+x'"


def test_our_line_joins_a_note_once_and_leaves_the_rest() -> None:
    once = mapping.with_mark("met at the fair", "p-1")
    assert once == mapping.with_mark(once, "p-1") == "met at the fair\nhub:p-1"
    assert mapping.is_marked({"note": once}, "p-1")
    assert not mapping.is_marked({"note": once}, "p")


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"base_url": None}, "base_url"),
        ({"base_url": "news.example.com"}, "base_url"),
        ({"newsletter": "weekly"}, "newsletter"),
        ({"label_prefix": ""}, "label_prefix"),
        ({"overlap_s": 0}, "overlap_s"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_and_schema_refuse_the_same_and_name_the_setting(change: dict[str, Any], setting: str) -> None:
    config = {key: value for key, value in {**CONFIG, **change}.items() if value is not None}
    with pytest.raises(SettingsError) as wrong:
        GhostSettings.of(config, SECRETS)
    assert set(wrong.value.problems) == {setting}
    assert not jsonschema_rs.is_valid(dict(CONFIG_SCHEMA), config)


@pytest.mark.parametrize("key", ["", "secret", f"{'c' * 24}:short"])
def test_a_key_that_is_no_admin_key_is_named(key: str) -> None:
    with pytest.raises(SettingsError, match="admin_key"):
        GhostSettings.of(CONFIG, SECRETS | {"admin_key": key})
