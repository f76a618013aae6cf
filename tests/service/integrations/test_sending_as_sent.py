"""What a delivery sent is kept sealed, and goes again as it was: once, and over something newer only by force."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from chassis.crypto import SealBroken
from chassis.database import new_id, utcnow
from contracts import deliveries as contract
from contracts.errors import Conflict, Invalid
from contracts.schema import instance_of
from services.integrations.models import Attempt, Binding, Delivery, Run
from services.integrations.operations import connections, intake, payloads, records, replays
from services.integrations.operations.payloads import Payload
from tests.service.integrations.conftest import ADMIN, Hub, on_sqlite
from tests.service.integrations.test_backfill import page, take
from tests.service.integrations.test_consent import GRANTED, contact, subscriber
from tests.service.integrations.test_dry_run import INTEGRATOR, found
from tests.service.integrations.test_mappings import route_of, save, use
from tests.service.integrations.test_pruning import pruner
from tests.service.integrations.test_replaying import approve
from tests.service.integrations.test_secrets import PHONE, everything
from tests.service.integrations.test_two_ways import connect
from tests.support.fake_target import FakeTarget

SMS = {"sms": {"state": "granted", "at": "2026-01-01T00:00:00Z", "source": "hub"}}
NO_SMS = {"sms": {"state": "refused", "at": "2026-02-01T00:00:00Z", "source": "hub"}}


def again(hub: Hub, delivery: Delivery) -> Delivery:
    with hub.db.write() as session:
        asked = {"id": delivery.id, "payload": "as_sent", "reason": "mended there"}
        accepted = replays.retry(session, asked, utcnow(), by=ADMIN)
        session.expunge(accepted)
    hub.engine.wake([accepted.connection_id])
    return accepted


def replayed(hub: Hub, connection_id: str, count: int, entity: str = "customer", *, force: bool = False,
             **filter: Any) -> Run:
    """Replay what a filter finds as it was sent, and confirm this many; return the run."""
    run = hub.start_run(connection_id, "replay", entity, filter=filter, payload="as_sent", force=force, reason="asked")
    page(hub, take(hub))
    if count:
        approve(hub, run, count)
        page(hub, take(hub))
        hub.engine.wake([connection_id])
    return hub.the_run(run)


def sent(hub: Hub, delivery: Delivery) -> Payload:
    with hub.db.read() as session:
        return payloads.last_sent(session, [delivery])[delivery.id]


def paused(hub: Hub, connection_id: str, *, paused: bool = True) -> None:
    with hub.db.write() as session:
        change = connections.pause if paused else connections.resume
        change(session, {"id": connection_id, "reason": "x"}, by=ADMIN)
    hub.engine.wake([connection_id])


def test_what_was_sent_goes_over_something_newer_by_force_alone_and_once(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    hub.until(id := hub.customer(), "delivered")
    hub.customer(2, id)
    hub.until(id, "delivered", "delivered")
    older, newer = hub.deliveries(id)
    [row] = target.of("customer")
    before: dict[str, Any] = {"state": "delivered", "created_to": newer.created_at.isoformat()}

    assert replayed(hub, connection_id, 0, **before).counts == {"to_confirm": 0}  # something newer has come after it
    stale = replayed(hub, connection_id, 0, state="delivered")
    assert stale.counts == {"left_out": 1, "to_confirm": 0}
    assert "brought a version as new" in found(hub, stale.id)[id]["detail"]["reason"]["en"]
    assert row.body["name"] == "v2"

    forced = replayed(hub, connection_id, 1, force=True, **before)
    hub.until(id, "delivered", "delivered", "delivered")
    told = found(hub, forced.id)[id]
    assert (told["kind"], told["fields"]) == ("outdated", ["name", "version"])
    assert told["detail"] == {"as_sent": {"name": "v1", "version": 1}, "current": {"name": "v2", "version": 2}}
    assert (row.body["name"], row.source_version, hub.binding(id).acked_version) == ("v1", 1, 2)
    last = hub.deliveries(id)[2]
    assert (last.replay_of, last.replay_mode, last.origin) == (older.id, "as_sent", "forced")
    assert last.idempotency_key == f"{older.idempotency_key}-{last.id}"
    assert sent(hub, last) == sent(hub, older)
    assert replayed(hub, connection_id, 0, force=True, **before).counts == {"left_out": 1, "to_confirm": 0}
    assert hub.ledger(connection_id).balanced

    hub.customer(3, id)
    hub.until(id, "delivered", "delivered", "delivered", "delivered")
    assert row.body["name"] == "v3"


def test_a_double_click_sends_once_what_a_dead_one_sent_and_the_database_holds_it(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer", "order")
    hub.run()
    hub.until(customer := hub.customer(), "delivered")
    target.fail(method="POST", status=422, entity="order")
    hub.tell("sales.order.confirmed", id := new_id(), number="SO-1", customer_id=customer)
    hub.until(id, "dead")
    with hub.db.write() as session:  # it changes, and no target is told
        records.put(session, hub.keyring, "order", id, 2, {"number": "SO-2"}, utcnow(), routed=False)
    [dead] = hub.deliveries(id)

    first = again(hub, dead)
    assert again(hub, dead).id == first.id

    hub.until(id, "dead", "delivered")
    assert [row.body["number"] for row in target.of("order")] == ["SO-1"]
    assert sent(hub, hub.deliveries(id)[1]) == Payload(1, {"id": id, "version": 1, "number": "SO-1",
                                                          "customer_id": customer},
                                                       {"customer": hub.binding(customer).external_id or ""})
    assert (first.source_version, first.idempotency_key) == (1, dead.idempotency_key)
    row = intake.plan(connection_id, "order", id, "upsert", 1, utcnow()) | {
        "state": "skipped", "settled_at": utcnow(), "replay_of": dead.id, "payload_hash": first.payload_hash}
    with pytest.raises(IntegrityError), hub.db.write() as session:
        intake.add(session, [row | {"replay_mode": "as_sent"}])
    with hub.db.write() as session:
        intake.add(session, [row | {"replay_mode": "current"}])


@on_sqlite
def test_what_was_sent_is_kept_where_it_alone_opens_and_nobody_is_shown_it(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    hub.run()
    target.fail(method="POST", status=422)
    hub.until(id := hub.customer(phone=PHONE), "dead")
    again(hub, hub.deliveries(id)[0])
    hub.until(id, "dead", "delivered")

    assert sent(hub, hub.deliveries(id)[0]).body["phone"] == PHONE
    assert PHONE not in everything(hub)
    one, other = hub.attempts(id)
    with pytest.raises(SealBroken):
        hub.keyring.open(one.payload_sealed or "", f"attempt|payload|{other.delivery_id}|{other.n}")
    for shown in (contract.Delivery, contract.Attempt):
        assert not {name for name in instance_of(shown).dump_fields if "payload" in name}


@on_sqlite
def test_a_preview_hides_what_any_mapping_ever_made_of_a_sensitive_field(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id = route_of(hub, connection_id)
    use(hub, route_id, save(hub, route_id, "fields: {name: {from: phone, required: true}, term: {value: 1}}"))
    hub.run()
    hub.until(id := hub.customer(phone=PHONE), "delivered")
    use(hub, route_id, save(hub, route_id, "fields: {name: name, term: {value: 2}}"))

    run = replayed(hub, connection_id, 1, force=True, state="delivered")

    assert found(hub, run.id, INTEGRATOR)[id]["detail"] == {
        "as_sent": {"name": "***", "term": 1}, "current": {"name": "***", "term": 2}, "sensitive": ["name"]}
    assert found(hub, run.id)[id]["detail"]["as_sent"]["name"] == PHONE
    hub.until(id, "delivered", "delivered")
    assert [row.body for row in target.of("customer")] == [{"name": PHONE, "term": 1}]
    assert [row.mapping_version for row in hub.deliveries(id)] == [1, 1]


@on_sqlite
@pytest.mark.parametrize("before", [{"payload_sealed": None}, {"outcome": "not_made"}])
def test_what_is_not_kept_or_never_left_is_refused_in_words(
    hub: Hub, target: FakeTarget, before: dict[str, Any]
) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    target.fail(method="POST", status=422)
    hub.until(id := hub.customer(), "dead")
    with hub.db.write() as session:
        session.execute(sa.update(Attempt).values(**before))

    run = replayed(hub, connection_id, 0)

    assert (run.state, run.counts) == ("completed", {"left_out": 1, "to_confirm": 0})
    assert "is not kept" in found(hub, run.id)[id]["detail"]["reason"]["en"]
    with pytest.raises(Conflict, match="is not kept"):
        again(hub, hub.deliveries(id)[0])


@on_sqlite
def test_what_changed_a_record_makes_none_where_that_has_gone(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id = route_of(hub, connection_id)
    use(hub, route_id, save(hub, route_id, "fields: {name: name, term: {value: 1, only_on_create: true}}"))
    hub.run()
    hub.until(id := hub.customer(), "delivered")
    target.fail(method="PUT", status=422, times=2)
    hub.customer(2, id)
    hub.until(id, "delivered", "dead")
    paused(hub, connection_id)
    accepted = again(hub, hub.deliveries(id)[1])
    with hub.db.write() as session:
        session.execute(sa.delete(Binding))
    paused(hub, connection_id, paused=False)
    hub.until(id, "delivered", "dead", "dead")

    assert "has gone" in (hub.deliveries(id)[2].last_error or "")
    assert [one.whole for one in (sent(hub, hub.deliveries(id)[0]), sent(hub, accepted))] == [True, False]
    with pytest.raises(Conflict, match="has gone there"):
        again(hub, hub.deliveries(id)[2])


@on_sqlite
def test_a_refusal_of_consent_goes_with_what_was_sent_before_it(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "contact")
    hub.run()
    hub.until(id := contact(hub, consent=GRANTED | SMS), "delivered")
    hub.tell("customers.contact.snapshot", id, 2, name="韩梅梅", consent=GRANTED | NO_SMS)

    replayed(hub, connection_id, 1, "contact", force=True, state="delivered")

    hub.until(id, "delivered", "delivered")
    assert (subscriber(target).body["name"], subscriber(target).body["consent"]) == ("李雷", GRANTED | NO_SMS)


@on_sqlite
def test_what_is_overtaken_while_it_waits_is_not_sent(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    target.fail(method="POST", status=422, times=3)
    ids = [hub.customer() for _ in range(3)]
    for id in ids:
        hub.until(id, "dead")
    paused(hub, connection_id)
    for id in ids:
        again(hub, hub.deliveries(id)[0])
    by_an_event, by_its_version, unreadable = ids
    hub.customer(2, by_an_event)
    with hub.db.write() as session:
        session.execute(sa.update(Binding).where(Binding.local_id == by_its_version).values(
            external_id=target.put("customer", by_its_version, {"name": "v2"}).id, state="bound", acked_version=2))
        session.execute(sa.update(Delivery).where(Delivery.local_id == unreadable, Delivery.state == "pending")
                        .values(payload="v1.0000.AAAA"))

    paused(hub, connection_id, paused=False)

    hub.until(by_an_event, "dead", "superseded", "delivered")
    hub.until(by_its_version, "dead", "skipped")
    hub.until(unreadable, "dead", "dead")
    assert "does not open" in (hub.deliveries(unreadable)[1].last_error or "")
    assert sorted(row.body["name"] for row in target.of("customer")) == ["v2", "v2"]


@on_sqlite
def test_nothing_is_forced_without_a_reason(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    with pytest.raises(Invalid) as refused:
        hub.start_run(connection_id, "replay", force=True)
    assert refused.value.fields["errors"][0]["pointer"] == "/reason"


@on_sqlite
def test_what_was_sent_again_goes_with_its_payload_once_it_is_old(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    hub.until(id := hub.customer(), "delivered")
    replayed(hub, connection_id, 1, force=True, state="delivered")
    hub.until(id, "delivered", "delivered")

    assert pruner(hub, days_later=91).prune() == 2

    assert (hub.rows(Delivery), hub.rows(Attempt)) == ([], [])
    assert hub.ledger(connection_id).balanced
