"""A reconciliation finds what differs between here and there, mends what it may, and is quiet when all is well."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from chassis.database import new_id, utcnow
from contracts.errors import Conflict, Invalid
from hub_adapter.failure import Invalid as Unfit
from hub_adapter.port import Page, Remote
from services.integrations.domain import takeovers
from services.integrations.engine import decisions
from services.integrations.models import (
    Binding,
    Cursor,
    Delivery,
    Finding,
    Record,
    Route,
    Run,
    Sighting,
)
from services.integrations.models import Conflict as ConflictRow
from services.integrations.operations import conflicts, findings, inbound, runs
from services.integrations.operations.claims import Lease
from services.integrations.operations.inbound import News, Reading
from services.integrations.queries import reconciliations as queries
from services.integrations.queries.conflicts import get as conflict_of
from tests.service.integrations.conftest import ADMIN, UPDATED, Hub, on_sqlite
from tests.service.integrations.test_mappings import save, use
from tests.support.fake_target import FakeTarget, ListedAdapter, Row
from tests.support.processes import eventually

MANY = 24


class World:
    """A target that has all customers of the hub, each bound to its own."""

    def __init__(self, hub: Hub, target: FakeTarget, many: int = MANY) -> None:
        self.hub, self.target = hub, target
        self.connection_id = hub.connect(target, "customer", adapter="fake_listed")
        self.ids = [new_id() for _ in range(many)]
        with hub.db.write() as session:
            hub.tell_rows(session, [(id, {"id": id, "name": f"n{n}"}) for n, id in enumerate(self.ids)])
        self.rows = {id: target.put("customer", id, {"id": id, "name": f"n{n}"}) for n, id in enumerate(self.ids)}
        with hub.db.write() as session:
            session.execute(sa.insert(Binding), [
                {"connection_id": self.connection_id, "entity": "customer", "local_id": id, "external_id": row.id,
                 "state": "bound", "create_key": f"customer-{id}", "acked_version": 1, "remote_version": "1"}
                for id, row in self.rows.items()])

    def known(self, **state: Any) -> str:
        """A customer that no target was told of."""
        with self.hub.db.write() as session:
            self.hub.tell_rows(session, [(id := new_id(), {"id": id, **state})])
        return id

    def edit(self, id: str) -> None:
        self.target.put("customer", id, {"id": id, "name": "as they want it"})

    def delete(self, id: str) -> None:
        self.target.remove(self.rows[id].id)

    def double(self, id: str) -> Row:
        return self.target.put("customer", f"copy of {id}", dict(self.rows[id].body))

    def make_anew(self, id: str) -> Row:
        """What happens to a record that is restored there under another id."""
        self.delete(id)
        return self.target.put("customer", id, dict(self.rows[id].body))

    def live(self) -> None:
        """Run all that goes on with runs and with deliveries."""
        self.hub.run()
        self.watched()

    def watched(self) -> None:
        """Run what goes on with runs."""
        self.hub.start(self.hub.engine.runner)

    def run(self, **options: Any) -> Run:
        """Run a reconciliation until it has ended or asks."""
        run_id = self.hub.start_run(self.connection_id, "reconcile", **options)
        self.hub.engine.runner.wake()
        eventually(lambda: self.hub.the_run(run_id).state not in ("pending", "running"), 30)
        return self.hub.the_run(run_id)

    def approve(self, run: Run, count: int) -> Run:
        with self.hub.db.write() as session:
            runs.approve(session, {"id": run.id, "count": count}, utcnow(), by=ADMIN)
        self.hub.engine.runner.wake()
        done = self.hub.until_run(run.id, "completed")
        eventually(lambda: self.hub.ledger(self.connection_id).open == 0, 30)
        return done

    def found(self, run: Run) -> dict[tuple[str, str | None], Finding]:
        return {(row.kind, row.local_id): row for row in self.hub.rows(Finding, Finding.run_id == run.id)}

    def standing(self) -> Counter[Any]:
        return Counter((row.key, row.body["name"]) for row in self.target.of("customer"))


def take(hub: Hub, run_id: str) -> Any:
    """Lease a run as a worker would."""
    now = utcnow()
    with hub.db.write() as session:
        [taken] = runs.claim(session, 9, Lease(owner="me", until=now + dt.timedelta(seconds=60)), now)
    assert taken.id == run_id
    return taken


@pytest.fixture
def world(hub: Hub, target: FakeTarget) -> World:
    return World(hub, target)


def test_five_planted_faults_are_found_and_mended_once_a_person_agrees_and_the_second_run_is_quiet(
    world: World,
) -> None:
    gone, edited, doubled, stale = world.ids[:4]
    names = {id: row.body["name"] for id, row in world.rows.items()}
    world.delete(gone)
    world.edit(edited)
    double = world.double(doubled)
    never_sent = world.known(name="never sent")
    anew = world.make_anew(stale)
    world.live()

    run = world.run()

    assert (run.state, run.phase) == ("awaiting_approval", "mending")
    found = world.found(run)
    assert set(found) == {("missing_remote", gone), ("mismatch", edited), ("duplicate_remote", doubled),
                          ("missing_remote", never_sent), ("stale_binding", stale)}
    assert found["mismatch", edited].fields == ["name"]
    assert found["duplicate_remote", doubled].external_id == double.id
    assert found["stale_binding", stale].candidates == [anew.id]
    assert world.hub.rows(Delivery) == []  # nothing is done before somebody has confirmed how much

    done = world.approve(run, 5)

    assert (done.counts["repair"], done.counts["quarantine"]) == (4, 1)
    wanted = Counter({(id, names[id]): 1 for id in world.ids} | {(never_sent, "never sent"): 1})
    assert world.standing() == wanted + Counter({(double.key, names[doubled]): 1})  # nothing is deleted there
    [conflict] = world.hub.rows(ConflictRow)
    assert (conflict.code, conflict.local_id, conflict.external_id) == ("duplicate_remote", doubled, double.id)
    assert world.hub.binding(stale).external_id == anew.id
    assert {row.origin for row in world.hub.rows(Delivery)} == {"reconcile"}

    again = world.run()
    assert (again.state, world.found(again), again.counts["known"]) == ("completed", {}, 1)
    assert len(world.hub.rows(Delivery)) == 4
    assert again.next_run_at is not None


@on_sqlite
def test_more_than_a_twentieth_vanished_stops_the_run_before_anything_is_done(world: World) -> None:
    for id in world.ids[:3]:
        world.delete(id)
    world.watched()

    run = world.run()
    assert run.state == "failed"
    assert run.error is not None
    assert f"3 of {MANY}" in run.error
    assert (world.found(run), world.hub.rows(Delivery)) == ({}, [])

    assert world.run(vanished_most=3).state == "awaiting_approval"


@on_sqlite
def test_a_record_that_is_listed_twice_is_repaired_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ListedAdapter.list

    def doubled(self: Any, *asked: Any) -> Page[Remote]:
        page = whole(self, *asked)
        return replace(page, items=[*page.items, *page.items])

    monkeypatch.setattr(ListedAdapter, "list", doubled)
    world.edit(world.ids[0])
    world.live()
    run = world.run()
    done = world.approve(run, 2)
    assert (done.counts["repair"], done.counts["overtaken"]) == (1, 1)
    assert len(world.hub.rows(Delivery)) == 1


@on_sqlite
def test_of_a_record_that_stands_there_very_often_some_copies_are_told_and_a_person_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "COPIES_MOST", 2)
    often, once = world.ids[:2]
    for n in range(5):
        world.target.put("customer", f"copy {n}", {"name": "n0"})
    world.target.put("customer", "copy", {"name": "n1"})
    world.watched()
    run = world.run()
    told = Counter(row.local_id for row in world.hub.rows(Finding))
    assert (run.state, told) == ("awaiting_approval", {often: 2, once: 1})


@on_sqlite
def test_what_is_under_way_or_changed_since_the_run_began_is_left_alone(world: World) -> None:
    waiting, changed, dead, deleted = world.ids[:4]
    hub = world.hub
    for id in (waiting, changed, dead):
        world.edit(id)
    hub.tell(UPDATED, waiting, 2, wake=False, name="on its way")
    with hub.db.write() as session:
        session.execute(sa.update(Record).where(Record.id == changed)
                        .values(seen_at=utcnow() + dt.timedelta(hours=1)))
        session.execute(sa.update(Record).where(Record.id == deleted).values(deleted=True))
        session.add(Delivery(connection_id=world.connection_id, entity="customer", local_id=dead, op="upsert",
                             source_version=1, idempotency_key="k", state="dead", due_at=utcnow(),
                             created_at=utcnow(), settled_at=utcnow()))
    world.watched()

    run = world.run()

    assert set(world.found(run)) == {("missing_local", deleted)}
    assert run.counts["left_out"] == 3


@on_sqlite
def test_what_is_in_order_when_it_is_asked_again_is_no_finding(world: World) -> None:
    hub, edited = world.hub, world.ids[0]
    world.edit(edited)
    taken = take(hub, hub.start_run(world.connection_id, "reconcile"))
    while taken.phase != "asking":
        taken = hub.engine.runner.page(taken)
    world.target.put("customer", edited, dict(world.rows[edited].body | {"name": "n0"}))
    while taken is not None:
        taken = hub.engine.runner.page(taken)
    [run] = hub.rows(Run)
    assert (run.state, run.counts["unfounded"], hub.rows(Finding)) == ("completed", 1, [])


@on_sqlite
def test_a_run_that_only_reports_changes_nothing_and_costs_a_call_a_page_and_a_few_for_a_suspect(world: World) -> None:
    world.edit(world.ids[0])
    world.watched()
    run = world.run(policy={"mismatch": "report"})
    assert (run.state, [row.state for row in world.found(run).values()]) == ("completed", ["open"])
    assert world.hub.rows(Delivery) == []
    assert len(world.target.calls("GET")) <= MANY // 4 + 1 + 2 + 1  # pages of four, one suspect, one check


@on_sqlite
def test_a_run_that_makes_no_sense_is_refused_with_what_to_do(world: World) -> None:
    hub = world.hub
    with pytest.raises(Invalid):
        hub.start_run(world.connection_id, "reconcile", policy={"duplicate_remote": "repair"})
    with pytest.raises(Conflict, match="route"):
        hub.start_run(world.connection_id, "reconcile", "order")
    with pytest.raises(Conflict, match="listed whole"):
        hub.start_run(hub.connect(world.target, "customer"), "reconcile")


@on_sqlite
def test_what_the_target_does_not_keep_is_sent_again_once_and_then_only_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_capitals(self: Any, ctx: Any, entity: str, body: Any) -> Any:
        return {"name": "N0" if body["name"] == "n0" else body["name"]}

    monkeypatch.setattr(ListedAdapter, "expected", in_capitals)
    world.live()
    world.approve(world.run(), 1)
    again = world.run()
    assert (again.state, [row.state for row in world.found(again).values()]) == ("completed", ["open"])
    assert len(world.hub.rows(Delivery)) == 1


@on_sqlite
@pytest.mark.parametrize("kind", ["reconcile", "dry_run"])
def test_an_adapter_is_told_our_id_also_of_a_record_whose_mapping_leaves_it_out(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def keyed(self: Any, ctx: Any, entity: str, body: Any) -> Any:
        assert body["id"] in world.ids
        return body

    hub, [route] = world.hub, world.hub.rows(Route)
    for id, row in world.rows.items():  # as it stands once it was sent by the mapping
        world.target.put("customer", id, {"name": row.body["name"]})
    monkeypatch.setattr(ListedAdapter, "expected", keyed)
    use(hub, route.id, save(hub, route.id, "fields:\n  name: name\n"))
    world.watched()

    done = hub.until_run(hub.start_run(world.connection_id, kind), "completed")

    assert (done.counts["seen"] > 0, world.found(done)) == (True, {})


@on_sqlite
def test_a_record_that_cannot_stand_there_as_it_is_here_is_left_to_who_reads_the_dead(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: Any) -> Any:
        raise Unfit("no name")

    world.known()
    monkeypatch.setattr(ListedAdapter, "expected", refused)
    world.watched()
    run = world.run()
    assert (run.state, run.counts["unsendable"], world.found(run)) == ("completed", 1, {})


@pytest.fixture
def taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have customers be records whose owner takes over a name that was changed there."""
    monkeypatch.setitem(cast("dict[str, frozenset[str]]", takeovers.TAKEN), "customer", frozenset({"name"}))
    monkeypatch.setattr(takeovers, "IN_PART", frozenset())


@on_sqlite
def test_a_record_whose_owner_would_not_take_it_over_is_not_said_to_be(world: World) -> None:
    for kind in ("mismatch", "missing_local"):
        with pytest.raises(Invalid) as refused:
            world.hub.start_run(world.connection_id, "reconcile", policy={kind: "adopt"})
        assert refused.value.fields["errors"][0]["pointer"] == "/options/policy"
    world.edit(edited := world.ids[0])
    never_sent = world.known()
    world.watched()
    run = world.run(policy={"missing_remote": "quarantine"})
    found = world.found(run)
    assert {key: row.decision for key, row in found.items()} == {
        ("missing_remote", never_sent): None, ("mismatch", edited): "repair"}

    finding = found["mismatch", edited]
    with pytest.raises(Conflict, match="is taken over: consent"), world.hub.db.write() as session:
        findings.decide(session, {"id": run.id, "finding_id": finding.id, "expected_version": finding.version,
                                  "decision": "adopt"}, by=ADMIN)


@on_sqlite
@pytest.mark.usefixtures("taken_over")
def test_what_moved_on_either_side_while_a_person_thought_about_it_is_not_taken_over_as_it_was(world: World) -> None:
    ours_moved, seen, still, hub = *world.ids[:3], world.hub
    for id in (ours_moved, seen, still):
        world.edit(id)
    world.watched()
    run = world.run(policy={"mismatch": "adopt"})

    with hub.db.write() as session:
        session.execute(sa.update(Record).where(Record.id == ours_moved).values(version=2, seen_at=utcnow()))
    read = News(external_id=world.rows[seen].id, version="9", record={"name": "newer"})
    with hub.db.write() as session:
        inbound.tell(session, world.connection_id, "customer", [read], Reading(since=utcnow(), now=utcnow()))
    done = world.approve(run, 3)

    assert (done.counts["adopt"], done.counts["overtaken"]) == (1, 2)
    assert [row.local_id for row in hub.rows(Finding, Finding.state == "done")] == [still]
    assert [row.remote_version for row in hub.rows(Sighting, Sighting.external_id == world.rows[seen].id)] == ["9"]


@on_sqlite
@pytest.mark.usefixtures("taken_over")
def test_what_changed_there_again_unread_is_not_taken_over_as_it_was(world: World) -> None:
    again, gone, still, hub = *world.ids[:3], world.hub
    for id in (again, gone, still):
        world.edit(id)
    world.watched()
    run = world.run(policy={"mismatch": "adopt"})
    world.target.put("customer", again, {"id": again, "name": "on second thoughts"})
    world.delete(gone)
    done = world.approve(run, 3)

    assert (done.counts["adopt"], done.counts["overtaken"]) == (1, 2)
    assert [row.local_id for row in hub.rows(Finding, Finding.state == "done")] == [still]


@on_sqlite
def test_a_stale_binding_that_a_person_decides_is_bound_to_where_the_record_stands(world: World) -> None:
    hub, id = world.hub, world.ids[0]
    row = world.make_anew(id)
    world.live()
    world.approve(world.run(policy={"stale_binding": "quarantine"}), 1)
    [conflict] = hub.rows(ConflictRow)

    _decided, woken = decisions.decide(
        hub.db, hub.keyring, {"id": conflict.id, "resolution": "keep_local", "note": ""}, 10, by=ADMIN,
        keep=lambda session, answer: None)
    hub.engine.wake(woken)

    hub.until(id, "delivered")
    assert hub.binding(id).external_id == row.id
    assert world.standing()[id, "n0"] == 1


@on_sqlite
def test_a_double_that_a_person_has_dismissed_is_not_told_again(world: World) -> None:
    world.double(world.ids[0])
    world.watched()
    world.approve(world.run(), 1)
    hub = world.hub
    [conflict] = hub.rows(ConflictRow)
    with hub.db.write() as session:
        conflicts.resolved(session, conflict_of(session, conflict.id, ADMIN), {"resolution": "dismissed", "note": ""},
                           utcnow(), by=ADMIN)
    assert world.run().counts["known"] == 1
    assert len(hub.rows(ConflictRow)) == 1


@on_sqlite
def test_what_people_did_there_and_nobody_has_read_yet_is_read_first_and_is_no_drift(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer", adapter="two_way", direction="both")
    hub.run()
    hub.start(hub.engine.runner)
    hub.until(id := hub.customer(), "delivered")
    eventually(lambda: all(row.last_success_at for row in hub.rows(Cursor)), 30)
    target.put("customer", id, {"name": "as they want it"})
    target.put("customer", "theirs", {"name": "new there"})

    run_id = hub.start_run(connection_id, "reconcile")
    hub.engine.runner.wake()

    counts = hub.until_run(run_id, "completed").counts
    assert (counts["moved"], counts["unfounded"]) == (1, 1)
    assert hub.rows(Finding) == []


@on_sqlite
def test_a_run_says_why_it_waits_where_what_people_did_there_cannot_be_read(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", adapter="two_way", direction="both")
    taken = take(hub, hub.start_run(connection_id, "reconcile"))
    while taken.phase != "asking":
        taken = hub.engine.runner.page(taken)
    with hub.db.write() as session:
        session.execute(sa.update(Cursor).values(failures=3, last_error="transient: 503 from /changes"))

    assert hub.engine.runner.page(taken) is None
    assert hub.the_run(taken.id).error == (
        "waits until what people did at the target has been read; the last poll failed: transient: 503 from /changes")

    with hub.db.write() as session:
        session.execute(sa.update(Cursor).values(last_error=None, last_success_at=utcnow(), first_pass=False))
        session.execute(sa.update(Run).values(due_at=utcnow()))
    assert hub.engine.runner.page(take(hub, taken.id)) is not None
    assert hub.the_run(taken.id).error is None


@on_sqlite
def test_a_record_that_may_not_stand_there_is_not_missed_and_one_without_consent_that_does_is_told(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "contact", adapter="two_way")
    refused = [new_id(), new_id()]
    for id in refused:
        hub.tell("customers.contact.snapshot", id, 1, name="x", consent={})
    row = target.put("contact", refused[0], {"name": "x"})
    with hub.db.write() as session:
        session.add(Binding(connection_id=connection_id, entity="contact", local_id=refused[0], external_id=row.id,
                            state="bound", create_key="k"))
    hub.start(hub.engine.runner)
    hub.until_run(hub.start_run(connection_id, "reconcile", "contact"), "completed")
    assert [(one.kind, one.local_id) for one in hub.rows(Finding)] == [("missing_local", refused[0])]
