"""People are members once, with their consent only; who leaves the newsletter stays off it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub_adapter.client import Exchange
from hub_adapter.failure import AuthRefused, InDoubt, Invalid, NotFound
from hub_adapter.port import Change, Context, Write
from services.integrations.adapters.ghost.adapter import GhostAdapter
from tests.support.chaos_proxy import ChaosProxy
from tests.support.ghost import Newsletter
from tests.support.scripted_http import ScriptedServer

Open = Callable[..., Context]
LONG_AGO = "2020-01-01T00:00:00.000Z"


@pytest.fixture
def email() -> str:
    """An address that nobody has yet."""
    return f"o'brien+{uuid.uuid4().hex}@example.com"


def later() -> str:
    """A moment after all that has happened in Ghost so far."""
    return (datetime.now(UTC) + timedelta(minutes=1)).isoformat()


def person(email: str | None, *, at: str = LONG_AGO, local_id: str | None = None, **changed: Any) -> dict[str, Any]:
    consent = {"email": {"state": "granted", "at": at}}
    return {"id": local_id or str(uuid.uuid4()), "email": email, "name": "王小明", "consent": consent} | changed


def as_write(body: dict[str, Any], external_id: str | None = None) -> Write:
    return Write(local_id=body["id"], body=body, idempotency_key="k", source_version=1, external_id=external_id)


def since(adapter: GhostAdapter, ctx: Open, checkpoint: str | None, limit: int = 100) -> tuple[list[Change], str]:
    told: list[Change] = []
    while True:
        page = adapter.changes(ctx(), "contact", checkpoint, limit)
        assert page.next_cursor is not None
        told, checkpoint = told + list(page.items), page.next_cursor
        if page.complete:
            return told, checkpoint


def test_a_person_becomes_one_member_however_often_it_is_said(
    adapter: GhostAdapter, ctx: Open, ghost: Newsletter, email: str, exchanges: list[Exchange]
) -> None:
    body = person(email.upper(), tags=["北京", "vip"], level="A")
    first = adapter.write(ctx(), "customer", as_write(body))
    exchanges.clear()
    second = adapter.write(ctx(), "customer", as_write(body, first.external_id))
    assert (second.external_id, second.remote_version) == (first.external_id, first.remote_version)
    assert not any(exchange.changes for exchange in exchanges)
    member = ghost.member(first.external_id)
    assert (member["email"], member["name"], member["note"]) == (email, "王小明", f"hub:{body['id']}")
    assert sorted(label["name"] for label in member["labels"]) == ["hub:level:A", "hub:vip", "hub:北京"]
    assert member["subscribed"]


def test_what_a_write_tells_is_what_get_find_and_a_poll_tell(adapter: GhostAdapter, ctx: Open, email: str) -> None:
    body = person(email)
    written = adapter.write(ctx(), "contact", as_write(body))
    remote = adapter.get(ctx(), "contact", written.external_id)
    assert remote is not None
    (told,) = [one for one in since(adapter, ctx, None, limit=2)[0] if one.external_id == written.external_id]
    assert (written.body, written.remote_version) == (remote.body, remote.version) == (told.body, told.version)
    for keys in ({"id": body["id"]}, {"email": email.upper()}, {"id": body["id"], "email": email}):
        assert [one.external_id for one in adapter.find(ctx(), "contact", keys)] == [written.external_id]
    assert adapter.find(ctx(), "contact", {"id": body["id"][:-1]}) == []


def test_a_member_who_is_there_already_is_adopted_and_keeps_what_editors_wrote(
    adapter: GhostAdapter, ctx: Open, ghost: Newsletter, email: str
) -> None:
    theirs = {"email": email, "name": "typed by an editor", "note": "met at the fair", "labels": [{"name": "press"}]}
    (member,) = ghost.ask("POST", "members/", {"members": [theirs]})["members"]
    body = person(email, tags=["vip"])
    written = adapter.write(ctx(), "customer", as_write(body))
    assert (written.external_id, written.adopted) == (member["id"], True)
    member = ghost.member(member["id"])
    assert member["note"] == f"met at the fair\nhub:{body['id']}"
    assert sorted(label["name"] for label in member["labels"]) == ["hub:vip", "press"]
    assert member["name"] == "王小明"
    adapter.write(ctx(), "customer", as_write(body | {"tags": []}, written.external_id))
    assert [label["name"] for label in ghost.member(member["id"])["labels"]] == ["press"]


def test_a_lost_answer_to_the_creation_ends_in_one_member(
    adapter: GhostAdapter, ctx: Open, ghost: Newsletter, email: str
) -> None:
    body = person(email)
    with ChaosProxy(("127.0.0.1", ghost.port)) as link:
        link.lose_answer_to(b"POST /ghost/api/admin/members/ HTTP")
        with pytest.raises(InDoubt):
            adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "contact", as_write(body))
    assert adapter.write(ctx(), "contact", as_write(body)).adopted
    assert len(adapter.find(ctx(), "contact", {"email": email})) == 1


def test_a_reader_who_leaves_is_told_by_the_next_poll_and_stays_off(
    adapter: GhostAdapter, ctx: Open, ghost: Newsletter, email: str
) -> None:
    body = person(email)
    external_id = adapter.write(ctx(), "contact", as_write(body)).external_id
    _, checkpoint = since(adapter, ctx, None)
    before = ghost.member(external_id)["updated_at"]
    ghost.unsubscribe(external_id)
    assert ghost.member(external_id)["updated_at"] == before  # why the poll does not go by it
    # The hub, which has not polled yet, writes the person again: that must not bring them back, nor pass for its echo.
    again = adapter.write(ctx(), "contact", as_write(body | {"name": "王晓明"}, external_id))
    assert (again.details["state"], again.remote_version, again.body) == ("refused there", None, None)
    assert not ghost.member(external_id)["subscribed"]
    (told,) = [one for one in since(adapter, ctx, checkpoint)[0] if one.external_id == external_id]
    assert told.body["consent"]["email"]["state"] == "refused"
    assert abs(datetime.fromisoformat(told.body["consent"]["email"]["at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    # Another address does not help; consent that is younger than the refusal does.
    moved = adapter.write(ctx(), "contact", as_write(body | {"email": f"new-{email}"}, external_id))
    assert (moved.external_id, moved.details["state"]) == (external_id, "refused there")
    back = adapter.write(ctx(), "contact", as_write(person(email, at=later(), local_id=body["id"]), external_id))
    assert (back.external_id, back.details["state"]) == (external_id, "subscribed")
    assert ghost.member(external_id)["email"] == email


def test_a_refusal_is_found_by_address_too_when_nothing_is_bound(
    adapter: GhostAdapter, ctx: Open, ghost: Newsletter, email: str
) -> None:
    ghost.unsubscribe(adapter.write(ctx(), "contact", as_write(person(email))).external_id)
    written = adapter.write(ctx(), "contact", as_write(person(email)))
    assert (written.adopted, written.details["state"]) == (True, "refused there")


def test_unsubscribing_takes_our_newsletter_only_and_twice_is_no_error(
    adapter: GhostAdapter, ctx: Open, ghost: Newsletter, email: str
) -> None:
    name = f"other {uuid.uuid4().hex[:8]}"
    (other,) = ghost.ask("POST", "newsletters/", {"newsletters": [{"name": name}]})["newsletters"]
    external_id = adapter.write(ctx(), "contact", as_write(person(email))).external_id
    both = [{"id": ghost.seed["newsletter"]}, {"id": other["id"]}]
    ghost.ask("PUT", f"members/{external_id}/", {"members": [{"newsletters": both}]})
    for _ in range(2):
        assert adapter.delete(ctx(), "contact", external_id, idempotency_key="k").details["state"] == "unsubscribed"
    assert [one["id"] for one in ghost.member(external_id)["newsletters"]] == [other["id"]]


def test_nobody_is_a_member_without_consent_or_address(adapter: GhostAdapter, ctx: Open, email: str) -> None:
    refused = person(email) | {"consent": {"email": {"state": "refused", "at": LONG_AGO}}}
    with pytest.raises(Invalid, match="no consent"):
        adapter.write(ctx(), "contact", as_write(refused))
    with pytest.raises(Invalid, match="address"):
        adapter.write(ctx(), "contact", as_write(person(None)))
    with pytest.raises(Invalid, match="Invalid Email"):
        adapter.write(ctx(), "contact", as_write(person("not an address")))
    with pytest.raises(NotFound):
        adapter.write(ctx(), "contact", as_write(person(email), "0" * 24))


def test_webhooks_of_a_real_ghost_are_understood_and_a_forged_one_is_not(
    adapter: GhostAdapter, ctx: Open, ghost: Newsletter, email: str
) -> None:
    with ScriptedServer() as listener:
        ghost.call_back(f"{listener.url}/inbound")
        external_id = adapter.write(ctx(), "contact", as_write(person(email))).external_id
        ghost.unsubscribe(external_id)
        wait_for(listener, 2)
        ghost.ask("DELETE", f"members/{external_id}/")
        wait_for(listener, 3)
        messages = list(listener.requests)
    told = [adapter.parse_webhook(ctx(), one.headers, one.body)[0] for one in messages]
    assert [(one.op, one.external_id) for one in told] == [("upsert", external_id)] * 2 + [("delete", external_id)]
    assert [one.body["consent"]["email"]["state"] for one in told[:2]] == ["granted", "refused"]
    with pytest.raises(AuthRefused):
        adapter.parse_webhook(ctx(), messages[0].headers, messages[0].body + b" ")


def wait_for(listener: ScriptedServer, count: int) -> None:
    until = time.monotonic() + 30
    while len(listener.requests) < count:
        assert time.monotonic() < until, [seen.path for seen in listener.requests]
        time.sleep(0.05)


def test_all_members_are_listed_page_by_page(adapter: GhostAdapter, ctx: Open, ghost: Newsletter, email: str) -> None:
    ids = {adapter.write(ctx(), "contact", as_write(person(f"{n}{email}"))).external_id for n in range(3)}
    seen: list[str] = []
    cursor, complete = None, False
    while not complete:
        page = adapter.list(ctx(), "contact", cursor, 2)
        seen += [remote.external_id for remote in page.items]
        cursor, complete = page.next_cursor, page.complete
    assert ids <= set(seen)
    assert len(seen) == len(set(seen)) == ghost.ask("GET", "members/?limit=1")["meta"]["pagination"]["total"]


def test_a_dry_run_changes_nothing(
    adapter: GhostAdapter, ctx: Open, email: str, exchanges: list[Exchange]
) -> None:
    external_id = adapter.write(ctx(), "contact", as_write(person(email))).external_id
    exchanges.clear()
    told = adapter.write(ctx(dry_run=True), "contact", as_write(person(email), external_id)).details
    assert (told["would"], told["fields"]) == ("update", ["note"])
    assert adapter.write(ctx(dry_run=True), "contact", as_write(person(f"n{email}"))).details["would"] == "create"
    assert adapter.delete(ctx(dry_run=True), "contact", external_id, idempotency_key="k").details == {
        "would": "unsubscribe"
    }
    assert not any(exchange.changes for exchange in exchanges)


def test_what_is_wrong_with_a_connection_is_named_by_its_setting(adapter: GhostAdapter, ctx: Open) -> None:
    assert adapter.check(ctx()).ok
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"newsletter": "0" * 24}, "newsletter"),
        ({"admin_key": f"{'0' * 24}:{'00' * 32}"}, "admin_key"),
        ({"allow_private": []}, "base_url"),
    ]
    for changed, field in wrong:
        assert [problem.field for problem in adapter.check(ctx(**changed)).problems] == [field], changed


def test_a_key_with_a_wrong_secret_is_an_auth_failure(adapter: GhostAdapter, ctx: Open, ghost: Newsletter) -> None:
    key_id = ghost.seed["admin_key"].partition(":")[0]
    with pytest.raises(AuthRefused):
        adapter.get(ctx(admin_key=f"{key_id}:{'00' * 32}"), "contact", "0" * 24)


def test_no_preview_holds_the_key_a_token_or_a_whole_address(
    adapter: GhostAdapter, ctx: Open, ghost: Newsletter, email: str, exchanges: list[Exchange]
) -> None:
    adapter.write(ctx(), "contact", as_write(person(email)))
    everything = " ".join(f"{e.url}{e.request_preview}{e.response_preview}{e.error}" for e in exchanges)
    assert ghost.seed["admin_key"].partition(":")[2] not in everything
    assert "eyJ" not in everything
    assert email.partition("@")[0] not in everything
