"""A dry run tells what would be sent against what stands there, and changes nothing on either side."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.context import Subject
from chassis.database import new_id, utcnow
from contracts import runs as contract
from contracts.schema import load
from hub_adapter.port import AdapterSpec, Context, Remote
from services.integrations.adapters import registry
from services.integrations.models import Binding, Delivery, Finding, Run
from services.integrations.operations import health
from services.integrations.queries import findings
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_mappings import put_codes, route_of, save, use
from tests.support.fake_target import FakeAdapter, FakeTarget
from tests.support.plans import Plainly
from tests.support.processes import eventually

PHONE = "+8613800138000"
INTEGRATOR = Subject(id=new_id(), kind="user", name="it", depths={"run": {"*": "all"}})


class Meddler(FakeAdapter):
    """Changes what it is asked for."""

    spec = AdapterSpec(**(vars(FakeAdapter.spec) | {"name": "meddler"}))

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        self._ask(ctx, "PUT", f"/records/{entity}/{external_id}", json={"body": {}, "source_version": 0})
        return super().get(ctx, entity, external_id)


@pytest.fixture(autouse=True)
def _meddler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.OURS, "meddler", f"{__name__}:Meddler")


def known(hub: Hub, **state: Any) -> str:
    """Let the hub know of a customer, in version 1, without telling any target."""
    id = new_id()
    hub.tell("customers.customer.snapshot", id, 1, **state)
    return id


def standing(hub: Hub, target: FakeTarget, connection_id: str, local_id: str, acked: int, **body: Any) -> None:
    """Have a record stand there in some version, otherwise than here."""
    there = target.put("customer", local_id, {"id": local_id, "version": 1, **body})
    with hub.db.write() as session:
        session.add(Binding(connection_id=connection_id, entity="customer", local_id=local_id, acked_version=acked,
                            external_id=there.id, state="bound", create_key=local_id))


def ended(hub: Hub, run: str) -> Run:
    hub.start(hub.engine.runner)
    return hub.until_run(run, "completed")


def found(hub: Hub, run: str, subject: Subject = ADMIN) -> dict[str, Any]:
    """Return what a run has found as somebody sees it, by our id."""
    with hub.db.read() as session:
        page, _ = findings.listed(session, load(contract.ListFindings, {"id": run}), subject, Plainly())
        return {one["local_id"]: one for one in page.items}


def test_each_record_is_told_with_the_fields_in_which_both_sides_differ(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    same = known(hub, name="a", address={"city": "上海"})
    older = known(hub, name="b", phone=PHONE, address={"city": "上海", "street": "1"})
    drifted, lacking = known(hub, name="c"), known(hub, name="d")
    found_there = known(hub, name="e")
    standing(hub, target, connection_id, same, 1, name="a", address={"city": "上海", "note": "theirs"})
    standing(hub, target, connection_id, older, 0, name="b", phone=None, address={"city": "北京", "street": "1"})
    standing(hub, target, connection_id, drifted, 1, name="changed there")
    target.put("customer", found_there, {"id": found_there, "version": 1, "name": "E"})
    before = {id: (row.version, dict(row.body)) for id, row in target.rows.items()}

    run = ended(hub, hub.start_run(connection_id, "dry_run"))

    assert run.counts == {"create": 1, "drifted": 1, "same": 1, "seen": 5, "update": 2}
    told = found(hub, run.id)
    assert {id: (one["kind"], one["fields"]) for id, one in told.items()} == {
        older: ("update", ["address.city", "phone"]), drifted: ("drifted", ["name"]), lacking: ("create", []),
        found_there: ("update", ["name"])}
    assert told[older]["detail"] == {"ours": {"phone": PHONE, "address.city": "上海"},
                                     "theirs": {"phone": None, "address.city": "北京"}}
    assert told[lacking]["detail"]["ours"]["name"] == "d"
    assert hub.rows(Delivery) == []
    assert target.calls("POST", "PUT", "DELETE") == []
    assert {id: (row.version, dict(row.body)) for id, row in target.rows.items()} == before


@on_sqlite
def test_an_adapter_that_would_change_something_is_refused_by_its_session(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", adapter="meddler")
    id = known(hub, name="a")
    standing(hub, target, connection_id, id, 0, name="b")
    run = ended(hub, hub.start_run(connection_id, "dry_run"))
    assert run.counts == {"refused": 1, "seen": 1}
    assert "PUT would change something during a dry run" in found(hub, run.id)[id]["detail"]["reason"]["en"]
    assert target.calls("PUT") == []


@on_sqlite
def test_whoever_may_not_see_people_sees_which_fields_differ_and_masks_in_their_place(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    id = known(hub, name="a", phone=PHONE, address={"street": "南京路 1 号"})
    standing(hub, target, connection_id, id, 0, name="a", phone="+8613900139000", address={"street": "x"})
    run = ended(hub, hub.start_run(connection_id, "dry_run"))
    [row] = hub.rows(Finding)
    assert PHONE not in (row.detail_sealed or "")
    shown = found(hub, run.id, INTEGRATOR)[id]
    assert shown["fields"] == ["address.street", "phone"]
    assert shown["detail"] == {"ours": {"phone": "+86138****8000", "address.street": "***"},
                               "theirs": {"phone": "+86139****9000", "address.street": "***"}}
    with hub.db.read() as session:
        seen = findings.listed(session, load(contract.ListFindings, {"id": run.id}), ADMIN, Plainly())[1]
    assert (seen.entity, seen.revealed) == ("customer", (id,))


@on_sqlite
def test_what_a_mapping_makes_of_a_sensitive_field_is_hidden_whatever_it_is_called(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id = route_of(hub, connection_id)
    use(hub, route_id, save(hub, route_id, """
fields:
  name: "join(' ', [name, phone || '-'])"
  group: level
  address: "address.{line: street, city: city}"
"""))
    id = known(hub, name="a", phone=PHONE, level="A", address={"street": "南京路 1 号", "city": "上海"})
    standing(hub, target, connection_id, id, 0, name="+8613900139000", group="B", address={"line": "1", "city": "上海"})
    run = ended(hub, hub.start_run(connection_id, "dry_run"))
    assert found(hub, run.id, INTEGRATOR)[id]["detail"] == {
        "ours": {"name": "***", "group": "A", "address.line": "***"},
        "theirs": {"name": "***", "group": "B", "address.line": "***"}, "sensitive": ["address", "name"]}
    assert found(hub, run.id)[id]["detail"]["ours"]["name"] == f"a {PHONE}"
    with hub.db.read() as session:
        seen = findings.listed(session, load(contract.ListFindings, {"id": run.id}), ADMIN, Plainly())[1]
    assert seen.revealed == (id,)


@on_sqlite
def test_a_target_that_does_not_answer_makes_it_wait_and_it_goes_on_where_it_was(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    for n in range(3):
        known(hub, name=str(n))
    fault = target.fail(method="GET", entity="customer", status=503, times=10**6)
    run = hub.start_run(connection_id, "dry_run")
    hub.start(hub.engine.runner)
    eventually(lambda: hub.the_run(run).failures > 0)
    assert (hub.the_run(run).state, hub.connection(connection_id).consecutive_failures > 0) == ("running", True)
    fault.times = 0
    with hub.db.write() as session:
        session.get_one(Run, run).due_at = utcnow()
        health.observe(session, [health.Seen(connection_id=connection_id)], utcnow())
    hub.engine.runner.wake()
    assert hub.until_run(run, "completed").counts == {"create": 3, "seen": 3}


@on_sqlite
def test_only_those_records_are_looked_at_that_are_asked_for(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    ids = [known(hub, name=str(n)) for n in range(4)]
    named = hub.start_run(connection_id, "dry_run", filter={"local_ids": ids[:2]})
    assert ended(hub, named).counts == {"create": 2, "seen": 2}
    few = hub.start_run(connection_id, "dry_run", limit=3)
    hub.engine.runner.wake()
    assert hub.until_run(few, "completed").counts == {"create": 3, "seen": 3}


@on_sqlite
def test_what_is_compared_is_what_the_mapping_in_force_would_send(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id = route_of(hub, connection_id)
    put_codes(hub, connection_id, "terms", A=30)
    use(hub, route_id, save(hub, route_id, """
fields:
  name: name
  term: {from: "code('terms', level)", required: true}
  group: {from: source, only_on_create: true}
"""))
    bound, unmapped = known(hub, name="a", level="A", source="web"), known(hub, name="b", level="B", source="web")
    standing(hub, target, connection_id, bound, 0, name="a", term=60, group="theirs")
    told = found(hub, ended(hub, hub.start_run(connection_id, "dry_run")).id)
    assert {id: (one["kind"], one["fields"]) for id, one in told.items()} == {
        bound: ("update", ["term"]), unmapped: ("refused", ["/term"])}
    assert told[bound]["detail"] == {"ours": {"term": 30}, "theirs": {"term": 60}}
