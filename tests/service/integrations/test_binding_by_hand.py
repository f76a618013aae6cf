"""A record that may be there, at a target that cannot be asked: a person says which it is, and all goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from chassis.context import Subject
from chassis.database import new_id, utcnow
from contracts.errors import AlreadyExists, Conflict, HubError, Invalid, NotFound
from hub_adapter.port import Context, Remote
from services.integrations.engine import bindings
from services.integrations.models import Binding, Record
from services.integrations.operations import claims, replays
from services.integrations.operations.claims import Lease
from tests.service.integrations.conftest import ADMIN, CONFIRMED, Hub, on_sqlite
from tests.service.integrations.test_in_doubt import blind
from tests.support.fake_target import FakeAdapter, FakeTarget


def bind(hub: Hub, connection_id: str, local_id: str, external_id: str, entity: str = "customer", *,
         by: Subject = ADMIN) -> Binding:
    request = {"id": connection_id, "entity": entity, "local_id": local_id, "external_id": external_id,
               "reason": "the name is the same"}
    bound = bindings.bind(hub.db, hub.keyring, request, 10, by=by, keep=lambda _session, _answer: None)
    hub.engine.wake([connection_id])
    return bound


def lost(hub: Hub, target: FakeTarget) -> tuple[str, str]:
    """Have a customer made at a blind target, and its answer lost; return the connection and our id."""
    connection_id = blind(hub, target)
    target.fail(method="POST", drop="after")
    hub.run()
    id = hub.customer()
    hub.until(id, "dead")
    return connection_id, id


def test_what_a_person_has_found_is_changed_by_the_delivery_that_is_sent_again_and_by_the_next_version(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id, id = lost(hub, target)
    [row] = target.of("customer")

    assert bind(hub, connection_id, id, row.id).external_id == row.id
    [dead] = hub.deliveries(id)
    with hub.db.write() as session:
        replays.retry(session, {"id": dead.id}, utcnow(), by=ADMIN)
    hub.engine.wake([connection_id])
    hub.until(id, "dead", "delivered")
    hub.customer(2, id)
    hub.until(id, "dead", "delivered", "delivered")

    [row] = target.of("customer")
    assert (row.body["name"], row.source_version, len(target.calls("POST"))) == ("v2", 2, 1)
    assert hub.binding(id).acked_version == 2
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_neither_of_the_two_is_ever_bound_twice(hub: Hub, target: FakeTarget) -> None:
    connection_id = blind(hub, target)
    ours, other = hub.customer(), hub.customer()
    theirs, free = (target.put("customer", key, {"name": "x"}).id for key in ("1", "2"))
    bind(hub, connection_id, ours, theirs)

    with pytest.raises(AlreadyExists) as refused:
        bind(hub, connection_id, other, theirs)
    assert refused.value.fields["local_id"] == ours
    with pytest.raises(AlreadyExists) as refused:
        bind(hub, connection_id, ours, free)
    assert refused.value.fields["external_id"] == theirs
    assert bind(hub, connection_id, ours, theirs).external_id == theirs, "what is so already stays so"
    assert [row.local_id for row in hub.rows(Binding)] == [ours]


def during_the_look(monkeypatch: pytest.MonkeyPatch, does: Callable[[], object]) -> None:
    """Do something once, after the target has been asked for the record and before it is bound."""
    get, todo = FakeAdapter.get, [does]

    def looked(self: FakeAdapter, ctx: Context, entity: str, external_id: str) -> Remote | None:
        found = get(self, ctx, entity, external_id)
        if todo:
            todo.pop()()
        return found

    monkeypatch.setattr(FakeAdapter, "get", looked)


def test_of_two_people_who_bind_two_records_to_one_the_later_is_refused(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id, row = blind(hub, target), target.put("customer", "there", {"name": "x"})
    ours, other = hub.customer(), hub.customer()
    during_the_look(monkeypatch, lambda: bind(hub, connection_id, other, row.id))

    with pytest.raises(AlreadyExists):
        bind(hub, connection_id, ours, row.id)

    assert [one.local_id for one in hub.rows(Binding)] == [other]


def test_a_record_that_is_just_being_made_there_is_not_bound_to_another(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id, row = blind(hub, target), target.put("customer", "there", {"name": "x"})
    id, lease = hub.customer(), Lease(owner="me/1/1", until=utcnow())

    def claimed() -> None:
        with hub.db.write() as session:
            claims.claim(session, hub.keyring, [(connection_id, 1)], lease, utcnow())

    during_the_look(monkeypatch, claimed)
    with pytest.raises(Conflict, match="on its way"):
        bind(hub, connection_id, id, row.id)

    assert (hub.states(id), hub.binding(id).external_id) == (["leased"], None)


@on_sqlite
def test_what_waits_goes_to_the_record_that_was_found_and_so_does_what_waits_for_it(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id, row = blind(hub, target, "customer", "order"), target.put("customer", "there", {"name": "x"})
    target.needs["order"] = "customer"
    customer, order = hub.customer(), new_id()
    hub.hurry(customer, by_s=-3600)  # as after a call that failed
    hub.run()
    hub.tell(CONFIRMED, order, customer_id=customer, lines=[])
    hub.until(order, "blocked")

    bind(hub, connection_id, customer, row.id)
    hub.until(order, "delivered")
    hub.hurry(customer)
    hub.until(customer, "delivered")

    assert [one.body["name"] for one in target.of("customer")] == ["v1"]


@on_sqlite
def test_what_cannot_be_bound_says_why(hub: Hub, target: FakeTarget) -> None:
    connection_id, row = blind(hub, target), target.put("customer", "there", {"name": "x"})
    id, gone = hub.customer(), hub.customer()
    with hub.db.write() as session:
        session.execute(sa.update(Record).where(Record.id == gone).values(deleted=True))

    def refused(local_id: str, external_id: str = row.id, entity: str = "customer") -> HubError:
        with pytest.raises(HubError) as told:
            bind(hub, connection_id, local_id, external_id, entity)
        return told.value

    for told, pointer in ((refused(id, "999"), "/external_id"), (refused(id, entity="ticket"), "/entity")):
        assert isinstance(told, Invalid)
        assert [one["pointer"] for one in told.fields["errors"]] == [pointer]
    assert isinstance(refused(new_id()), NotFound)
    assert "deleted here" in refused(gone).message
    target.fail(method="GET", status=500)
    assert "could not be asked" in refused(id).message
    nobody = Subject(id=new_id(), kind="user", name="li", depths={"connection": {"read": "all"}})
    with pytest.raises(NotFound):
        bind(hub, connection_id, id, row.id, by=nobody)
    assert hub.rows(Binding) == []
