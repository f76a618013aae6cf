"""A check of the kit proves nothing that it did not exercise: each is put before an adapter that would get by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from hub_adapter.conformance.outcome import NotShown
from hub_adapter.conformance.proxy import FaultProxy
from hub_adapter.conformance.records import RecordsAdapter, answered, send
from hub_adapter.conformance.rig import Rig
from hub_adapter.conformance.suite import ConformanceSuite
from hub_adapter.conformance.system import Message, Sample, System
from hub_adapter.conformance.target import RecordsTarget, running
from hub_adapter.failure import AlreadyExists
from hub_adapter.port import Adapter, Change, Context, Page, Remote, Write, Written
from tests.adapters.test_records_adapter import a_note, records_system
from tests.support.two_way import HOOK, TwoWayAdapter, message, signature

Ask = Callable[..., None]
POLLS = (
    "the_first_poll_tells_of_everything_and_the_next_has_an_end",
    "a_failed_poll_tells_nothing",
    "our_own_write_is_known_by_its_version",
)
MESSAGES = (
    "a_forged_message_is_refused",
    "an_old_message_is_refused_however_well_it_is_signed",
    "a_message_is_one_by_its_body_and_its_signed_headers",
)


@pytest.fixture
def target() -> Iterator[RecordsTarget]:
    yield from running()


@pytest.fixture
def ask(target: RecordsTarget) -> Iterator[Ask]:
    """Put an adapter to one check of the kit: `ask(adapter, "deleting_twice_is_no_error", entity="note")`."""
    proxy = FaultProxy()

    def asked(
        adapter: Adapter, check: str, *, samples: bool = True, system: System | None = None, **of: str
    ) -> None:
        system = system or records_system(target)
        rig = Rig(adapter, system if samples else replace(system, samples={}), proxy)
        suite = type("Suite", (ConformanceSuite,), {"adapter": adapter})()
        try:
            getattr(suite, f"test_{check}")(rig=rig, **of)
        finally:
            rig.close()

    yield asked
    proxy.close()


class TwoLooks(RecordsAdapter):
    """Asks for something else before it looks."""

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        answered(send(ctx, "GET", "/ping"), ctx)
        return super().write(ctx, entity, cmd)


class NoLook(RecordsAdapter):
    """Creates at once, and looks only where that is refused."""

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        given = {"key": cmd.local_id, "body": dict(cmd.body), "source_version": cmd.source_version}
        try:
            row = answered(send(ctx, "POST", f"/records/{entity}", json=given), ctx)
        except AlreadyExists:
            return super().write(ctx, entity, cmd)
        return Written(external_id=row["id"], remote_version=str(row["version"]), body=row["body"])


class Forgetful(RecordsAdapter):
    """Changes nothing that stands, and expects nothing of what it writes."""

    def expected(self, ctx: Context, entity: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        return Written(external_id=cmd.external_id) if cmd.external_id else super().write(ctx, entity, cmd)


class FromMemory(RecordsAdapter):
    """Answers what it should ask for."""

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        return Page(items=[], next_cursor=None, complete=True)

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        return Page(items=[], next_cursor="0", complete=True)


def test_two_workers_meet_behind_the_last_look_before_they_create(target: RecordsTarget, ask: Ask) -> None:
    """Else the one that looks late finds what the other has made, and all seems well."""
    target.unique = False
    target.fail(method="GET", entity="note", skip=2, delay_s=0.3)
    with pytest.raises(AssertionError, match="two workers made 2 records of one"):
        ask(TwoLooks(), "two_workers_at_once_make_one_record", entity="note")


def test_two_workers_that_do_not_look_need_not_meet(target: RecordsTarget, ask: Ask) -> None:
    ask(NoLook(), "two_workers_at_once_make_one_record", entity="note")
    assert len(target.calls("POST")) == 4, "one to learn how it writes, two at once, one that settles it"


@pytest.mark.parametrize("check", POLLS)
def test_a_poll_with_nothing_to_tell_of_is_not_shown(ask: Ask, check: str) -> None:
    with pytest.raises(NotShown, match="has no note"):
        ask(RecordsAdapter(), check, samples=False, pulled="note")


def test_a_poll_is_shown_by_what_is_there_already(target: RecordsTarget, ask: Ask) -> None:
    target.put("note", "theirs", {"text": "回访"})
    for check in POLLS[:2]:
        ask(RecordsAdapter(), check, samples=False, pulled="note")
    assert any("since=" in seen.path for seen in target.seen)


def test_a_poll_or_a_listing_that_asks_nobody_cannot_be_told_from_a_whole_one(ask: Ask) -> None:
    with pytest.raises(AssertionError, match="a poll asks nobody"):
        ask(FromMemory(), "a_failed_poll_tells_nothing", pulled="note")
    with pytest.raises(AssertionError, match="a listing asks nobody"):
        ask(FromMemory(), "a_failed_page_is_never_complete", entity="note")


def test_a_change_that_stays_away_is_seen_whatever_the_adapter_expects(ask: Ask) -> None:
    with pytest.raises(AssertionError, match="text: '2 回访' comes back as '回访'"):
        ask(Forgetful(), "a_change_reaches_the_record", entity="note")


def test_a_rate_that_cannot_end_amid_a_write_is_not_shown(ask: Ask) -> None:
    with pytest.raises(NotShown, match="takes one request"):
        ask(NoLook(), "no_more_is_sent_than_the_rate_allows", entity="note")


@pytest.mark.parametrize("check", MESSAGES)
def test_the_adapter_of_the_hubs_own_tests_takes_no_message_that_the_kit_would_refuse(
    target: RecordsTarget, ask: Ask, check: str
) -> None:
    def told(entity: str, external_id: str, age_s: float) -> Message:
        body, stamp = message(target.rows[external_id]), str(int(time.time() - age_s))
        return {"x-hook-timestamp": stamp, "x-hook-signature": signature(HOOK, stamp, body)}, body

    system = replace(records_system(target), samples={"contact": Sample(make=a_note, texts={"name": 50})},
                     secrets={"key": target.accepted_key, "hook": HOOK}, webhook=told)  # fmt: skip
    ask(TwoWayAdapter(), check, system=system, entity="contact")
