"""People are on the list once, with their consent only; what they say there wins over what the hub knew before."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub_adapter.client import Exchange
from hub_adapter.failure import InDoubt, Invalid, NotFound
from hub_adapter.port import Change, Context, Write
from services.integrations.adapters.tryton_marketing.adapter import TrytonMarketingAdapter
from tests.adapters.tryton_marketing.conftest import People
from tests.support.chaos_proxy import ChaosProxy
from tests.support.erp import Erp

Open = Callable[..., Context]
LONG_AGO = "2020-01-01T00:00:00.000Z"


def later() -> str:
    """A moment after all that has happened in the ERP so far."""
    return (datetime.now(UTC) + timedelta(minutes=1)).isoformat()


def person(email: str | None, *, at: str = LONG_AGO, state: str = "granted", external_id: str | None = None) -> Write:
    body: dict[str, Any] = {"id": str(uuid.uuid4()), "email": email, "consent": {"email": {"state": state, "at": at}}}
    return Write(local_id=body["id"], body=body, idempotency_key="k", source_version=1, external_id=external_id)


def since(
    adapter: TrytonMarketingAdapter, ctx: Open, checkpoint: str | None, limit: int = 200
) -> tuple[list[Change], str]:
    told: list[Change] = []
    while True:
        page = adapter.changes(ctx(), "contact", checkpoint, limit)
        assert page.next_cursor is not None
        told, checkpoint = told + list(page.items), page.next_cursor
        if page.complete:
            return told, checkpoint


# --- subscribing -----------------------------------------------------------------------------------------------------


def test_a_person_is_subscribed_once_however_often_it_is_said(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str, exchanges: list[Exchange]
) -> None:
    first = adapter.write(ctx(), "contact", person(email.upper()))
    exchanges.clear()
    second = adapter.write(ctx(), "contact", person(email, external_id=first.external_id))
    assert (second.external_id, second.remote_version) == (first.external_id, first.remote_version)
    assert not any(exchange.changes for exchange in exchanges)
    assert [bool(row["active"]) for row in people.rows(email=email)] == [True]


def test_what_a_write_tells_is_what_get_and_a_poll_tell(
    adapter: TrytonMarketingAdapter, ctx: Open, email: str
) -> None:
    written = adapter.write(ctx(), "contact", person(email))
    remote = adapter.get(ctx(), "contact", written.external_id)
    assert remote is not None
    (told,) = [one for one in since(adapter, ctx, None)[0] if one.external_id == written.external_id]
    assert (written.body, written.remote_version) == (remote.body, remote.version) == (told.body, told.version)
    assert told.body["consent"]["email"]["state"] == "granted"
    assert [found.external_id for found in adapter.find(ctx(), "contact", {"email": email})] == [written.external_id]


def test_an_address_that_is_on_the_list_already_is_adopted(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    theirs = people.subscribe(email)
    written = adapter.write(ctx(), "customer", person(email))
    assert (written.external_id, written.adopted) == (theirs, True)


def test_a_lost_answer_to_the_subscription_ends_in_one_row(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, erp: Erp, email: str
) -> None:
    with ChaosProxy(("127.0.0.1", erp.port)) as link:
        link.lose_answer_to(b"POST /erp/rest/model/marketing.email HTTP")
        with pytest.raises(InDoubt):
            adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "contact", person(email))
    sought = adapter.spec.sought_by("contact", "any", {"email": email.upper()})
    assert sought is not None
    assert [found.active for found in adapter.find(ctx(), "contact", sought)] == [True]
    assert adapter.write(ctx(), "contact", person(email)).adopted
    assert len(people.rows(email=email)) == 1


def test_nobody_is_subscribed_without_consent_or_address(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    with pytest.raises(Invalid, match="no consent"):
        adapter.write(ctx(), "contact", person(email, state="refused"))
    with pytest.raises(Invalid, match="address"):
        adapter.write(ctx(), "contact", person(None))
    assert people.rows(email=email) == []


def test_a_subscription_that_is_gone_is_said_to_be_gone(
    adapter: TrytonMarketingAdapter, ctx: Open, email: str
) -> None:
    with pytest.raises(NotFound):
        adapter.write(ctx(), "contact", person(email, external_id="999999"))
    assert adapter.get(ctx(), "contact", "999999") is None
    assert adapter.delete(ctx(), "contact", "999999", idempotency_key="k").details["state"] == "gone"


# --- a refusal wins --------------------------------------------------------------------------------------------------


def test_a_reader_who_unsubscribes_there_is_told_to_the_hub_and_stays_off(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    written = adapter.write(ctx(), "contact", person(email))
    _, checkpoint = since(adapter, ctx, None)
    people.unsubscribe(written.external_id)
    # The hub, which has not polled yet, writes the person again: that must not bring them back, nor pass for its echo.
    again = adapter.write(ctx(), "contact", person(email, external_id=written.external_id))
    assert (again.details["state"], again.remote_version, again.body) == ("refused there", None, None)
    assert [bool(row["active"]) for row in people.rows(email=email)] == [False]
    (told,) = [one for one in since(adapter, ctx, checkpoint)[0] if one.external_id == written.external_id]
    assert told.body["email"] == email
    assert told.body["consent"]["email"]["state"] == "refused"
    assert told.changed_at is not None
    said_at = datetime.fromisoformat(told.body["consent"]["email"]["at"])
    assert timedelta() <= told.changed_at - said_at < timedelta(milliseconds=1)
    assert told.version != written.remote_version


def test_consent_that_was_granted_after_the_refusal_brings_the_person_back(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    written = adapter.write(ctx(), "contact", person(email))
    people.switch(written.external_id, False)
    back = adapter.write(ctx(), "contact", person(email, at=later(), external_id=written.external_id))
    assert (back.external_id, back.details["state"]) == (written.external_id, "subscribed")
    assert [bool(row["active"]) for row in people.rows(email=email)] == [True]


def test_of_a_refusal_and_a_consent_of_the_same_moment_the_refusal_wins(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    external_id = adapter.write(ctx(), "contact", person(email)).external_id
    people.switch(external_id, False)
    remote = adapter.get(ctx(), "contact", external_id)
    assert remote is not None
    assert remote.version is not None
    same = person(email, at=remote.version, external_id=external_id)
    assert adapter.write(ctx(), "contact", same).details["state"] == "refused there"
    just_after = (datetime.fromisoformat(remote.version) + timedelta(microseconds=1)).isoformat()
    kept = adapter.write(ctx(), "contact", person(email, at=just_after, external_id=external_id))
    assert kept.details["state"] == "subscribed"


def test_a_refusal_is_found_by_address_too_when_nothing_is_bound(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    people.switch(people.subscribe(email), False)
    written = adapter.write(ctx(), "contact", person(email))
    assert (written.adopted, written.details["state"]) == (True, "refused there")


def test_whom_the_hub_took_off_it_may_put_back_and_a_poll_calls_that_no_refusal(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    external_id = adapter.write(ctx(), "contact", person(email)).external_id
    _, checkpoint = since(adapter, ctx, None)
    gone = [adapter.delete(ctx(), "contact", external_id, idempotency_key="k") for _ in range(2)]
    assert [bool(row["active"]) for row in people.rows(email=email)] == [False]
    assert gone[0] == gone[1]
    (told,) = [one for one in since(adapter, ctx, checkpoint)[0] if one.external_id == external_id]
    assert (told.version, told.body) == (gone[0].remote_version, {"email": email, "consent": {}})
    assert adapter.write(ctx(), "contact", person(email, external_id=external_id)).details["state"] == "subscribed"


def test_unsubscribing_whom_a_person_took_off_before_does_not_pass_for_the_hubs_own_doing(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    external_id = adapter.write(ctx(), "contact", person(email)).external_id
    people.switch(external_id, False)
    assert adapter.delete(ctx(), "contact", external_id, idempotency_key="k").remote_version is None


def test_a_sign_up_that_waits_to_be_confirmed_is_no_refusal(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    waiting = people.sign_up(email)
    remote = adapter.get(ctx(), "contact", waiting)
    assert remote is not None
    assert (remote.active, remote.body["consent"]) == (False, {})
    assert adapter.write(ctx(), "contact", person(email)).details["state"] == "subscribed"


# --- another address -------------------------------------------------------------------------------------------------


def test_a_new_address_is_subscribed_and_the_old_one_is_not_any_more(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    old = adapter.write(ctx(), "contact", person(email)).external_id
    moved = adapter.write(ctx(), "contact", person(f"new-{email}", external_id=old))
    assert moved.external_id != old
    standing = {row["email"]: bool(row["active"]) for row in people.rows() if row["email"].endswith(email)}
    assert standing == {email: False, f"new-{email}": True}
    back = adapter.write(ctx(), "contact", person(email, external_id=moved.external_id))
    assert (back.external_id, back.details["state"]) == (old, "subscribed")


def test_who_refused_under_the_old_address_is_not_subscribed_under_a_new_one(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    old = adapter.write(ctx(), "contact", person(email)).external_id
    people.switch(old, False)
    kept = adapter.write(ctx(), "contact", person(f"new-{email}", external_id=old))
    assert (kept.external_id, kept.details["state"], kept.remote_version) == (old, "refused there", None)
    assert people.rows(email=f"new-{email}") == []
    moved = adapter.write(ctx(), "contact", person(f"new-{email}", at=later(), external_id=old))
    assert moved.details["state"] == "subscribed"
    assert [bool(row["active"]) for row in people.rows(email=email)] == [False]


def test_a_move_that_was_cut_off_is_finished_by_the_next_attempt(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, erp: Erp, email: str
) -> None:
    old = adapter.write(ctx(), "contact", person(email)).external_id
    for lost in (b"PUT /erp/rest/model/marketing.email", b"POST /erp/rest/model/marketing.email HTTP"):
        with ChaosProxy(("127.0.0.1", erp.port)) as link:
            link.lose_answer_to(lost)
            elsewhere = ctx(base_url=f"http://127.0.0.1:{link.port}")
            with pytest.raises(InDoubt):
                adapter.write(elsewhere, "contact", person(f"new-{email}", external_id=old))
    moved = adapter.write(ctx(), "contact", person(f"new-{email}", external_id=old))
    assert [(row["email"], bool(row["active"])) for row in people.rows(id=int(moved.external_id))] == [
        (f"new-{email}", True)
    ]
    assert [bool(row["active"]) for row in people.rows(email=email)] == [False]


def test_a_move_that_was_cut_off_leaves_nobody_subscribed_whose_consent_is_taken_back_meanwhile(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, erp: Erp, email: str
) -> None:
    old = adapter.write(ctx(), "contact", person(email)).external_id
    with ChaosProxy(("127.0.0.1", erp.port)) as link:
        link.lose_answer_to(b"PUT /erp/rest/model/marketing.email")
        elsewhere = ctx(base_url=f"http://127.0.0.1:{link.port}")
        with pytest.raises(InDoubt):
            adapter.write(elsewhere, "contact", person(f"new-{email}", external_id=old))
    adapter.delete(ctx(), "contact", old, idempotency_key="k")
    assert [row["email"] for row in people.rows(active=True) if row["email"].endswith(email)] == []


def test_whoever_loses_the_address_is_unsubscribed_and_comes_back_with_it(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    external_id = adapter.write(ctx(), "contact", person(email)).external_id
    gone = adapter.write(ctx(), "contact", person(None, external_id=external_id))
    assert (gone.external_id, gone.details["state"]) == (external_id, "unsubscribed")
    assert [bool(row["active"]) for row in people.rows(email=email)] == [False]
    back = adapter.write(ctx(), "contact", person(email, external_id=external_id))
    assert (back.external_id, back.details["state"]) == (external_id, "subscribed")


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_poll_walks_page_by_page_and_tells_each_later_change(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    ids = [adapter.write(ctx(), "contact", person(f"{n}-{email}")).external_id for n in range(3)]
    told, checkpoint = since(adapter, ctx, None, limit=2)
    assert set(ids) <= {one.external_id for one in told}
    people.switch(ids[1], False)
    changed = {one.external_id: one for one in since(adapter, lambda: ctx(overlap_s=0), checkpoint, limit=2)[0]}
    assert changed[ids[1]].body["consent"]["email"]["state"] == "refused"
    assert ids[0] not in changed


def test_all_rows_are_listed_those_off_the_list_too(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str
) -> None:
    people.switch(people.subscribe(email), False)
    seen: list[str] = []
    cursor, complete = None, False
    while not complete:
        page = adapter.list(ctx(), "contact", cursor, 2)
        seen += [remote.external_id for remote in page.items]
        cursor, complete = page.next_cursor, page.complete
    assert sorted(map(int, seen)) == sorted(row["id"] for row in people.rows())


def test_a_dry_run_tells_what_it_would_do_and_does_nothing(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, email: str, exchanges: list[Exchange]
) -> None:
    external_id = adapter.write(ctx(), "contact", person(email)).external_id
    exchanges.clear()

    def would(write: Write) -> str:
        return str(adapter.write(ctx(dry_run=True), "contact", write).details["would"])

    assert would(person(f"new-{email}")) == "subscribe"
    assert would(person(f"new-{email}", external_id=external_id)) == "move"
    assert would(person(email, external_id=external_id)) == "nothing"
    assert would(person(None, external_id=external_id)) == "unsubscribe"
    gone = adapter.delete(ctx(dry_run=True), "contact", external_id, idempotency_key="k")
    assert gone.details["would"] == "unsubscribe"
    people.switch(external_id, False)
    assert would(person(email, external_id=external_id)) == "nothing: refused there"
    assert would(person(email, at=later(), external_id=external_id)) == "reactivate"
    assert not any(exchange.changes for exchange in exchanges)


# --- the connection --------------------------------------------------------------------------------------------------


def test_a_good_connection_has_no_problems_and_names_its_list(adapter: TrytonMarketingAdapter, ctx: Open) -> None:
    checked = adapter.check(ctx())
    assert checked.ok, checked.problems
    assert checked.details["mailing_list"] == "newsletter"


def test_what_is_wrong_with_a_connection_is_named_by_its_setting(adapter: TrytonMarketingAdapter, ctx: Open) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"mailing_list": 99}, "mailing_list"),
        ({"mailing_list": "1"}, "mailing_list"),
        ({"database": "nowhere"}, "base_url"),
        ({"rest_key": "f" * 128}, "rest_key"),
        ({"allow_private": []}, "base_url"),
    ]
    for changed, field in wrong:
        assert [problem.field for problem in adapter.check(ctx(**changed)).problems] == [field], changed


def test_no_preview_holds_the_key_or_a_whole_address(
    adapter: TrytonMarketingAdapter, ctx: Open, people: People, erp: Erp, email: str, exchanges: list[Exchange]
) -> None:
    people.switch(adapter.write(ctx(), "contact", person(email)).external_id, False)
    adapter.write(ctx(), "contact", person(email))
    everything = " ".join(f"{e.url}{e.request_preview}{e.response_preview}{e.error}" for e in exchanges)
    assert erp.rest_key not in everything
    assert email.partition("@")[0] not in everything
