"""Consent is asked at the last moment: when a delivery is leased, whatever was true when it was accepted."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.database import new_id
from hub_adapter.port import Context, Write, Written
from tests.service.integrations.conftest import Hub, on_sqlite
from tests.service.integrations.test_two_ways import connect, poll, told
from tests.support.fake_target import FakeTarget, Row
from tests.support.two_way import TwoWayAdapter

GRANTED = {"email": {"state": "granted", "at": "2026-01-01T00:00:00Z", "source": "hub"}}
REFUSED = {"email": {"state": "refused", "at": "2026-02-01T00:00:00Z", "source": "hub"}}


def contact(hub: Hub, version: int = 1, id: str | None = None, *, consent: Any = GRANTED, wake: bool = True) -> str:
    id = id or new_id()
    hub.tell(f"customers.contact.{'created' if version == 1 else 'updated'}", id, version, wake=wake, name="李雷",
             email="lilei@example.com", consent=consent)
    return id


def subscriber(target: FakeTarget) -> Row:
    [row] = target.of("contact")
    return row


def test_whoever_did_not_consent_is_never_brought_there(hub: Hub, target: FakeTarget) -> None:
    connect(hub, target, "contact")
    hub.run()

    unasked, refused = contact(hub, consent={}), contact(hub, consent=REFUSED)

    hub.until(unasked, "skipped")
    hub.until(refused, "skipped")
    assert [row.last_error for row in hub.deliveries(unasked)] == ["no consent for email"]
    assert target.calls("POST") == []


def test_a_refusal_unsubscribes_once_and_a_new_grant_reactivates_the_same_record(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "contact")
    hub.run()
    id = contact(hub)
    hub.until(id, "delivered")
    there = subscriber(target).id

    contact(hub, 2, id, consent=REFUSED)
    hub.until(id, "delivered", "delivered")
    assert subscriber(target).body["consent"]["email"]["state"] == "refused"
    assert (hub.binding(id).state, hub.binding(id).external_id) == ("tombstoned", there)
    contact(hub, 3, id, consent=REFUSED)
    hub.until(id, "delivered", "delivered", "skipped")
    contact(hub, 4, id)
    hub.until(id, "delivered", "delivered", "skipped", "delivered")

    assert (subscriber(target).id, subscriber(target).body["consent"]["email"]["state"]) == (there, "granted")
    assert hub.binding(id).state == "bound"
    poll(hub, connection_id)
    assert told(hub) == []
    assert hub.ledger(connection_id).balanced


def test_a_refusal_takes_back_what_a_first_write_left_there_half_made(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "contact")
    hub.run()
    target.fail(method="POST", entity="contact", status=422, message="the list is closed")
    id = contact(hub)
    hub.until(id, "dead")
    target.put("contact", id, {"consent": GRANTED})

    contact(hub, 2, id, consent=REFUSED)
    hub.until(id, "dead", "delivered")

    assert subscriber(target).body["consent"]["email"]["state"] == "refused"
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_a_refusal_takes_back_what_was_left_half_made_of_a_record_that_was_lost_there_before(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "contact")
    hub.run()
    id = contact(hub)
    hub.until(id, "delivered")
    target.remove(subscriber(target).id)
    contact(hub, 2, id)
    hub.until(id, "delivered", "retry_wait")
    target.fail(method="POST", entity="contact", status=422, message="the list is closed")
    hub.hurry(id)
    hub.until(id, "delivered", "dead")
    target.put("contact", id, {"consent": GRANTED})

    contact(hub, 3, id, consent=REFUSED)
    hub.until(id, "delivered", "dead", "delivered")

    assert subscriber(target).body["consent"]["email"]["state"] == "refused"
    assert hub.ledger(connection_id).balanced


def test_a_refusal_that_was_seen_before_its_record_was_bound_is_told_once_it_is(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def heeding(self: TwoWayAdapter, ctx: Context, entity: str, cmd: Write) -> Written:
        """Leave a refusal that stands there alone, and do not say that the record is as it was wanted."""
        found = self.find(ctx, entity, {"id": cmd.local_id})
        if found and found[0].body["consent"]["email"]["state"] == "refused":
            return Written(external_id=found[0].external_id)
        return write(self, ctx, entity, cmd)

    write = TwoWayAdapter.write
    monkeypatch.setattr(TwoWayAdapter, "write", heeding)
    connection_id, id = connect(hub, target, "contact"), new_id()
    hub.run()
    target.put("contact", id, {"email": "lilei@example.com", "consent": REFUSED})
    poll(hub, connection_id)
    assert [one["keys"] for one in told(hub)] == [{}]

    contact(hub, 1, id)
    hub.until(id, "delivered")

    assert [(one["keys"], one["record"]["consent"]) for one in told(hub)[1:]] == [({"id": id}, REFUSED)]
    contact(hub, 2, id)
    hub.until(id, "delivered", "delivered")
    poll(hub, connection_id, anew=True)
    assert len(told(hub)) == 2


def test_a_refusal_that_comes_while_a_delivery_waits_keeps_it_from_leaving(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "contact")
    id = contact(hub, wake=False)
    contact(hub, 2, id, consent=REFUSED, wake=False)
    hub.run()

    hub.until(id, "superseded", "skipped")

    assert target.calls("POST", "PUT") == []
    assert hub.ledger(connection_id).balanced


def test_who_unsubscribes_there_is_told_by_our_id(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "contact")
    hub.run()
    id = contact(hub)
    hub.until(id, "delivered")
    target.put("contact", id, subscriber(target).body | {"consent": {"email": {"state": "refused", "at": None}}})

    poll(hub, connection_id)

    assert [(one["keys"], one["changed"]) for one in told(hub)] == [({"id": id}, ["consent"])]
