"""Go-live matching as a person goes through it: a preview, decisions, a confirmed count, links; then the backfill."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import utcnow
from contracts.errors import Conflict, Invalid
from hub_adapter.port import Page, Remote
from services.integrations.engine import leaseholders
from services.integrations.engine.runs import match
from services.integrations.models import Binding, Finding, Run
from services.integrations.operations import findings, runs
from services.integrations.queries import runs as queries
from tests.service.integrations.conftest import ADMIN, CONFIRMED, Hub, on_sqlite
from tests.support.fake_target import FakeTarget, ListedAdapter, Row
from tests.support.processes import eventually

PHONE = "+861380013800"
"""Of which a digit is missing: the number of a record."""


def theirs(target: FakeTarget, *numbers: int, **said: Any) -> list[Row]:
    """What a colleague wrote there before the hub came, under keys of the target's own."""
    return [target.put("customer", f"K-{len(target.rows)}", {"name": f"theirs {n}", "phone": f"{PHONE}{n}"} | said)
            for n in numbers]


def found(hub: Hub, run_id: str) -> dict[str, Finding]:
    return {row.local_id: row for row in hub.rows(Finding, Finding.run_id == run_id)}


def previewed(hub: Hub, connection_id: str) -> str:
    """Match up to the preview."""
    run_id = hub.start_run(connection_id, "match")
    hub.until_run(run_id, "awaiting_approval")
    return run_id


def decide(hub: Hub, run_id: str, local_id: str, decision: str, external_id: str | None = None) -> None:
    finding = found(hub, run_id)[local_id]
    asked = {"id": run_id, "finding_id": finding.id, "expected_version": finding.version, "decision": decision,
             "external_id": external_id}
    with hub.db.write() as session:
        findings.decide(session, asked, by=ADMIN)


def approve(hub: Hub, run_id: str, count: int) -> None:
    with hub.db.write() as session:
        runs.approve(session, {"id": run_id, "count": count}, utcnow(), by=ADMIN)


def backfilled(hub: Hub, connection_id: str) -> None:
    """Switch the route on and bring everything."""
    hub.route(connection_id, "customer")
    hub.until_run(hub.start_run(connection_id, "backfill"), "completed")
    eventually(lambda: hub.ledger(connection_id).open == 0, 30)


@pytest.fixture
def live(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub with its engine and its runner, which looks for work all the time."""
    monkeypatch.setattr(leaseholders, "LOOK_EVERY_S", 0.05)
    hub.run()
    hub.start(hub.engine.runner)
    return hub


def test_after_a_confirmed_preview_the_first_sync_makes_exactly_what_is_missing(live: Hub, target: FakeTarget) -> None:
    connection_id = live.connect(target, adapter="fake_listed")
    known = [live.customer(name=f"ours {n}", phone=f"{PHONE}{n}") for n in range(5)]
    twice, misspelt, kept_apart = (live.customer(name=name, phone=f"{PHONE}{n}") for n, name in (
        (5, "Twice"), (6, "Northwind Traders"), (7, "Southwind Traders")))
    missing = [live.customer(name=f"missing {n}", phone=f"{PHONE}{n}") for n in (8, 9)]
    first, _second = theirs(target, *range(5))[0], theirs(target, 5, 5)
    typo, = theirs(target, 6, name="Northwnid Traders", phone=None)
    theirs(target, 7, name="Southwind Trader", phone=None)
    before = set(target.rows)

    run_id = previewed(live, connection_id)

    told = found(live, run_id)
    assert {id: told[id].kind for id in told} == (
        dict.fromkeys(known, "certain") | dict.fromkeys((twice, misspelt, kept_apart), "doubtful")
        | dict.fromkeys(missing, "new"))
    assert [(told[known[0]].external_id, told[known[0]].decision)] == [(first.id, "link")]
    assert set(target.rows) == before, "the preview changed something"
    for decision in ("link", "ignore", "link"):
        decide(live, run_id, twice, decision, told[twice].candidates[0] if decision == "link" else None)
    decide(live, run_id, misspelt, "link")
    decided = [id for id, finding in found(live, run_id).items() if finding.state == "decided"]
    assert queries.told(live.the_run(run_id))["to_confirm"] == len(decided) == 9
    with pytest.raises(Conflict):
        approve(live, run_id, 3)
    approve(live, run_id, 9)
    counts = live.until_run(run_id, "completed").counts
    assert (counts["linked"], counts["to_create"], counts["left_out"]) == (7, 2, 1)
    backfilled(live, connection_id)

    assert {row.key for id, row in target.rows.items() if id not in before} == set(missing)
    assert live.binding(misspelt).external_id == typo.id
    assert target.rows[typo.id].body["name"] == "Northwind Traders", "what is linked is brought up to date"
    assert [(row.state, row.external_id) for row in live.rows(Binding, Binding.local_id == kept_apart)] == [
        ("conflict", None)]
    live.customer(2, kept_apart, name="Southwind Traders Ltd")
    live.until(kept_apart, "skipped")
    assert live.deliveries(kept_apart)[0].error_class == "left_out"
    assert live.ledger(connection_id).balanced


@on_sqlite
def test_nothing_is_made_while_it_is_being_found_out_what_is_there_and_then_all_of_it_page_by_page(
    live: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(match, "RELEASED", 1)
    connection_id = live.connect(target, "customer", "order", adapter="fake_listed")
    bound = live.customer()
    live.until(bound, "delivered")
    run_id = previewed(live, connection_id)
    new, ordering = live.customer(phone=f"{PHONE}1"), live.customer(phone=f"{PHONE}2")
    live.tell(CONFIRMED, "o-1", customer_id=ordering, lines=[])
    live.customer(2, bound, name="moved on")
    live.until(bound, "delivered", "delivered")
    for id in (new, ordering):
        live.until(id, "retry_wait")
        assert live.deliveries(id)[0].error_class == "awaiting_match"
    live.until("o-1", "blocked")
    assert len(target.rows) == 1

    approve(live, run_id, 0)

    for id in (new, ordering, "o-1"):
        live.until(id, "delivered")
    assert len(target.of("customer")) == 3


@on_sqlite
def test_what_was_bound_or_has_gone_since_the_preview_is_told_and_not_forced(live: Hub, target: FakeTarget) -> None:
    connection_id = live.connect(target, adapter="fake_listed")
    stays, gone, taken, one, other = (live.customer(phone=f"{PHONE}{n}", email=f"a{n}@example.com") for n in range(5))
    rows = theirs(target, 0, 1, 2)
    both, = theirs(target, 3, email="a4@example.com")
    run_id = previewed(live, connection_id)
    for id in (one, other):
        decide(live, run_id, id, "link")
    target.remove(rows[1].id)
    with live.db.write() as session:
        session.add(Binding(connection_id=connection_id, entity="customer", local_id="somebody", state="bound",
                            external_id=rows[2].id, create_key="k"))
    approve(live, run_id, 5)
    counts = live.until_run(run_id, "completed").counts

    assert (counts["linked"], counts["not_linked"]) == (2, 3)
    told = found(live, run_id)
    assert {id: told[id].state for id in (stays, gone, taken, one, other)} == {
        stays: "done", gone: "skipped", taken: "skipped", one: "done", other: "skipped"}
    with live.db.read() as session:
        why = [str((session.merge(told[id]).detail or {})["reason"]) for id in (gone, taken, other)]
    assert [part in text for part, text in zip(("not there any more", "somebody", one), why, strict=True)] == [True] * 3
    assert live.binding(one).external_id == both.id
    assert {live.binding(id).state for id in (gone, taken, other)} == {"conflict"}


@on_sqlite
def test_a_listing_that_breaks_off_ends_the_run_and_nothing_is_taken_for_new(
    live: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = live.connect(target, adapter="fake_listed")
    live.customer(phone=f"{PHONE}1")
    whole = ListedAdapter.list

    def broken(self: Any, *asked: Any) -> Page[Remote]:
        page = whole(self, *asked)
        return Page(items=page.items, next_cursor=None, complete=False)

    monkeypatch.setattr(ListedAdapter, "list", broken)
    monkeypatch.setattr(runs, "BACK_OFF_S", 0.01)
    run = live.until_run(live.start_run(connection_id, "match"), "failed")
    assert "broke off" in str(run.error)
    assert (run.phase, live.rows(Finding)) == ("theirs", [])


@on_sqlite
def test_a_matching_that_was_cancelled_leaves_nothing_behind_and_can_be_begun_again(
    live: Hub, target: FakeTarget
) -> None:
    connection_id = live.connect(target, adapter="fake_listed")
    live.customer(phone=f"{PHONE}1")
    theirs(target, 1)
    run_id = previewed(live, connection_id)
    with live.db.write() as session:
        runs.cancel(session, {"id": run_id}, utcnow(), by=ADMIN)
    assert live.rows(Binding) == []
    assert found(live, previewed(live, connection_id)).keys() == found(live, run_id).keys()


@on_sqlite
@pytest.mark.parametrize("state", ["cancelled", "failed"])
def test_a_confirmed_matching_that_broke_off_lets_nothing_go_until_another_one_was_confirmed(
    hub: Hub, target: FakeTarget, state: str
) -> None:
    connection_id = hub.connect(target, "customer", adapter="fake_listed")
    id = hub.customer(phone=f"{PHONE}1")
    row, = theirs(target, 1)
    hub.start(hub.engine.runner)
    first = previewed(hub, connection_id)
    with hub.db.write() as session:  # confirmed, and ended before anything was linked
        session.execute(sa.update(Run).where(Run.id == first).values(state=state, approved_by=ADMIN.id))
    hub.run()
    hub.until(id, "retry_wait")
    unconfirmed = previewed(hub, connection_id)
    with hub.db.write() as session:
        runs.cancel(session, {"id": unconfirmed}, utcnow(), by=ADMIN)
    waited = hub.deliveries(id)[0].deferrals
    hub.hurry(id)
    eventually(lambda: hub.deliveries(id)[0].deferrals > waited, 30)
    again = previewed(hub, connection_id)
    approve(hub, again, 1)
    hub.until(id, "delivered")
    assert list(target.rows) == [row.id] == [hub.binding(id).external_id]


@on_sqlite
def test_what_was_left_out_is_asked_about_again_by_the_next_matching(live: Hub, target: FakeTarget) -> None:
    connection_id = live.connect(target, adapter="fake_listed")
    id = live.customer(phone=f"{PHONE}1")
    row, _other = theirs(target, 1, 1)
    first = previewed(live, connection_id)
    approve(live, first, 0)
    live.until_run(first, "completed")
    assert live.binding(id).state == "conflict"
    again = previewed(live, connection_id)
    decide(live, again, id, "link", row.id)
    approve(live, again, 1)
    live.until_run(again, "completed")
    assert (live.binding(id).state, live.binding(id).external_id) == ("bound", row.id)


@on_sqlite
def test_a_matching_is_refused_where_it_cannot_see_everything(hub: Hub, target: FakeTarget) -> None:
    with pytest.raises(Conflict, match="cannot list"):
        hub.start_run(hub.connect(target, adapter="fake"), "match")
    with pytest.raises(Invalid):
        hub.start_run(hub.connect(target, adapter="fake_listed"), "match", "order")


@on_sqlite
@pytest.mark.parametrize("there", [True, False])
def test_what_was_given_up_in_doubt_is_linked_by_a_match_or_made_by_who_sees_that_it_is_new(
    live: Hub, target: FakeTarget, *, there: bool
) -> None:
    target.unique = False
    connection_id = live.connect(target, "customer", adapter="fake_blind_listed")
    target.fail(method="POST", drop="after" if there else "before")
    id = live.customer(phone=f"{PHONE}1")
    live.until(id, "dead")
    live.customer(2, id, phone=f"{PHONE}1")
    live.until(id, "dead", "dead")

    run_id = previewed(live, connection_id)
    assert found(live, run_id)[id].kind == ("certain" if there else "new")
    approve(live, run_id, 1)
    live.until_run(run_id, "completed")
    live.customer(3, id, phone=f"{PHONE}1")

    live.until(id, "dead", "dead", "delivered")
    assert [row.body["name"] for row in target.of("customer")] == ["v3"]
