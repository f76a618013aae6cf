"""A secret goes where it was meant to go and nowhere else, and what a target says of people is not kept in clear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import new_id
from chassis.outbox import OUTBOX
from contracts.errors import Conflict, Invalid
from services.integrations.engine import checks
from services.integrations.models import Connection, Credential, Cursor
from services.integrations.operations import connections, credentials
from tests.service.integrations.conftest import ADMIN, Hub
from tests.support import fake_target
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.processes import eventually

PHONE, EMAIL = "+8613800138000", "wang.wei@example.com"


@pytest.fixture
def elsewhere() -> Iterator[FakeTarget]:
    """A host of somebody else's choosing."""
    yield from fake_target.running()


def change(hub: Hub, connection_id: str, **changes: Any) -> Connection:
    with hub.db.write() as session:
        version = session.get_one(Connection, connection_id).version
        return connections.change(
            session, {"id": connection_id, "expected_version": version, "changes": changes}, by=ADMIN)


def resume(hub: Hub, connection_id: str) -> None:
    with hub.db.write() as session:
        connections.resume(session, {"id": connection_id}, by=ADMIN)


def test_a_new_address_never_sees_the_secret_that_was_put_for_the_old_one(
    hub: Hub, target: FakeTarget, elsewhere: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    hub.until(hub.customer(), "delivered")

    elsewhere.put("customer", "another", {})
    change(hub, connection_id, config=elsewhere.config)
    check = checks.check(hub.db, hub.keyring, connection_id, 10, by=ADMIN)
    waiting = hub.customer()
    hub.quiet(0.5)

    assert check["problems"] == [{"field": "key", "message": "No such secret has been put."}]
    assert elsewhere.seen == []
    connection = hub.connection(connection_id)
    assert (connection.has_credential, connection.desired_state, connection.health) == (False, "paused", "auth_failed")
    assert hub.rows(Credential) == []
    assert hub.states(waiting) == ["pending"]
    with pytest.raises(Conflict):
        resume(hub, connection_id)

    with hub.db.write() as session:
        credentials.put(session, hub.keyring, {"id": connection_id, "secrets": {"key": GOOD_KEY}}, by=ADMIN)
    with pytest.raises(Conflict):
        resume(hub, connection_id)
    checks.check(hub.db, hub.keyring, connection_id, 10, by=ADMIN)
    resume(hub, connection_id)
    hub.engine.wake([connection_id])
    hub.until(waiting, "delivered")


def test_another_setting_keeps_the_credential(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target)

    changed = change(hub, connection_id, config=target.config | {"warehouse": 3})

    assert changed.has_credential
    assert changed.desired_state == "active"


def test_a_connection_without_its_secret_is_not_called_and_its_deliveries_wait(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    seen = len(target.seen)
    with hub.db.write() as session:
        credentials.withdraw(session, session.get_one(Connection, connection_id))
    hub.run()

    id = hub.customer()
    hub.quiet(1.5)

    assert hub.states(id) == ["pending"]
    assert len(target.seen) == seen


@pytest.mark.parametrize("networks", [["foo"], ["8.8.8.0/24"], ["0.0.0.0/0"], ["169.254.0.0/16"]])
def test_a_network_that_cannot_be_allowed_is_refused_with_its_pointer(
    hub: Hub, target: FakeTarget, networks: list[str]
) -> None:
    config = target.config | {"allow_private": networks}
    with pytest.raises(Invalid) as refused, hub.db.write() as session:
        connections.create(session, {"name": new_id(), "adapter": "fake", "config": config}, by=ADMIN)
    assert refused.value.fields["errors"][0]["pointer"] == "/config/allow_private"

    with pytest.raises(Invalid) as refused:
        change(hub, hub.connect(target), config=config)
    assert refused.value.fields["errors"][0]["pointer"] == "/changes/config/allow_private"


def test_settings_that_cannot_be_used_are_a_problem_of_the_check_and_of_the_cursor(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "product", direction="pull")
    with hub.db.write() as session:
        connection = session.get_one(Connection, connection_id)
        connection.config = target.config | {"allow_private": ["8.8.8.0/24"]}
        connection.setup_version += 1

    check = checks.check(hub.db, hub.keyring, connection_id, 10, by=ADMIN)
    hub.run()

    assert not check["ok"]
    assert "8.8.8.0/24 is not a private network" in check["problems"][0]["message"]
    assert check["message"] == "1 problem was found."
    eventually(lambda: "8.8.8.0/24" in (hub.rows(Cursor)[0].last_error or ""))
    assert hub.rows(Cursor)[0].lease_until is None


def test_what_a_refusing_target_repeats_of_a_person_or_a_secret_is_kept_nowhere_in_clear(
    hub: Hub, target: FakeTarget, capfd: pytest.CaptureFixture[str]
) -> None:
    said = f'phone "{PHONE}" of {EMAIL} is taken; key {GOOD_KEY}'
    target.put("product", "A", {"sku": "A"})
    connection_id = hub.connect(target, "customer", "order")
    target.fail(method="POST", status=422, message=said)
    hub.run()
    hub.until(refused := hub.customer(), "dead")
    target.fail(method="GET", entity="product", status=400, message=said)
    hub.route(connection_id, "product", "pull")
    hub.engine.poller.wake()
    target.fail(method="GET", entity="ping", status=422, message=said)
    checks.check(hub.db, hub.keyring, connection_id, 10, by=ADMIN)
    eventually(lambda: hub.rows(Cursor)[0].last_error is not None)
    target.fail(method="POST", times=1, status=401, message=said)
    hub.customer()
    eventually(lambda: hub.connection(connection_id).desired_state == "paused")

    assert "is taken" in (hub.deliveries(refused)[0].last_error or ""), "what helps a person is still there"
    assert "is taken" in (hub.connection(connection_id).pause_reason or "")
    kept = everything(hub) + "".join(capfd.readouterr())
    for secret in (PHONE, EMAIL, GOOD_KEY):
        assert secret not in kept


def everything(hub: Hub) -> str:
    """Return every value of every table, as text."""
    with hub.db.read() as session:
        names = sa.inspect(session.connection()).get_table_names()
        assert {"delivery", "attempt", "connection", "cursor", OUTBOX.name} <= set(names)
        return json.dumps([[str(value) for value in row] for name in names
                           for row in session.execute(sa.text(f'SELECT * FROM "{name}"'))], ensure_ascii=False)


def test_health_is_announced_under_a_number_that_rises_each_time(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target)
    for act in (connections.pause, connections.resume, connections.pause):
        with hub.db.write() as session:
            act(session, {"id": connection_id, "reason": ""}, by=ADMIN)
    with hub.db.read() as session:
        told = session.scalars(sa.select(OUTBOX.c.body).where(OUTBOX.c.routing_key == "connection.health_changed")
                               .order_by(OUTBOX.c.id))
        assert [json.loads(body)["entityversion"] for body in told] == [1, 2, 3]
