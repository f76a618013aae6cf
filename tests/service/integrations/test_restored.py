"""An older database was restored: the target is ahead of what this room remembers."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from chassis.database import utcnow
from chassis.outbox import OUTBOX
from services.integrations.domain import reconciliation
from services.integrations.models import (
    Attempt,
    Binding,
    Connection,
    Delivery,
    Finding,
    LedgerRow,
    Record,
    Run,
    Sighting,
)
from services.integrations.operations import connections, inbound, runs
from services.integrations.operations.inbound import News, Reading
from services.integrations.queries.statements import table_of
from tests.service.integrations.conftest import ADMIN, UPDATED, Hub, on_sqlite
from tests.service.integrations.test_out_of_order import SNAPSHOT
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually

KEPT = (Delivery, Attempt, Binding, Record, LedgerRow)
Backup = Mapping[Any, list[dict[str, Any]]]


def back_up(hub: Hub) -> Backup:
    with hub.db.read() as session:
        return {model: [dict(row._mapping) for row in session.execute(sa.select(table_of(model)))] for model in KEPT}


def restore(hub: Hub, backup: Backup) -> None:
    """Put the rows back, with every connection paused, as the operator's page says."""
    with hub.db.write() as session:
        for model in (Attempt, Delivery, Binding, Record, LedgerRow):
            session.execute(sa.delete(table_of(model)))
        for model, rows in backup.items():
            if rows:
                session.execute(sa.insert(table_of(model)), rows)
        session.execute(sa.update(Connection).values(desired_state="paused"))


def resume(hub: Hub, connection_id: str) -> None:
    with hub.db.write() as session:
        connections.resume(session, {"id": connection_id}, by=ADMIN)
    hub.engine.wake([connection_id])


def test_a_waiting_version_of_a_restored_database_never_overwrites_the_newer_one_at_the_target(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    hub.until(id := hub.customer(), "delivered")
    with hub.db.write() as session:
        connections.pause(session, {"id": connection_id, "reason": ""}, by=ADMIN)
    hub.customer(2, id)
    backup = back_up(hub)
    resume(hub, connection_id)
    hub.until(id, "delivered", "delivered")
    hub.customer(3, id)
    hub.until(id, "delivered", "delivered", "delivered")

    restore(hub, backup)
    assert hub.states(id) == ["delivered", "pending"]
    hub.tell(SNAPSHOT, id, 3, name="v3")  # what the owners announce, once our queues have been made anew
    resume(hub, connection_id)

    hub.until(id, "delivered", "delivered")
    [row] = target.of("customer")
    assert (row.source_version, row.body["name"]) == (3, "v3")
    assert hub.binding(id).acked_version == 3
    # The change itself is sent again too, from the owner's outbox; so may be an older one.
    for version in (2, 3):
        hub.tell(UPDATED, id, version, name=f"v{version}")
    hub.until(id, "delivered", "delivered", "skipped", "skipped")
    assert (row.source_version, hub.ledger(connection_id).balanced) == (3, True)


def test_after_an_older_database_was_restored_a_reconciliation_tells_the_drift_and_mends_it_without_a_double(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = hub.connect(target, "customer", adapter="fake_listed")
    hub.run()
    hub.start(hub.engine.runner)
    hub.until(changed := hub.customer(), "delivered")
    with hub.db.write() as session:
        connections.pause(session, {"id": connection_id, "reason": ""}, by=ADMIN)
    lost = hub.customer()
    backup = back_up(hub)
    resume(hub, connection_id)
    hub.until(lost, "delivered")
    made_since = hub.customer()
    hub.customer(2, changed)
    hub.until(made_since, "delivered")
    hub.until(changed, "delivered", "delivered")
    target.remove(hub.binding(changed).external_id or "")  # and what has gone since is to be seen as well
    stands = {row.key: row.id for row in target.of("customer")}

    restore(hub, backup)
    with hub.db.write() as session:  # what was to be sent may be told by its owner, or not: here nothing is
        session.execute(sa.update(Delivery).where(Delivery.local_id == lost).values(state="cancelled"))
    hub.tell(SNAPSHOT, changed, 2, name="v2")
    hub.tell(SNAPSHOT, made_since, 1, name="v1")
    resume(hub, connection_id)

    def reconcile(**options: Any) -> tuple[Run, dict[str, str]]:
        run_id = hub.start_run(connection_id, "reconcile", **options)
        hub.engine.runner.wake()
        eventually(lambda: hub.the_run(run_id).state not in ("pending", "running"), 30)
        return hub.the_run(run_id), {row.local_id: row.kind for row in hub.rows(Finding, Finding.run_id == run_id)}

    run, found = reconcile(vanished_most=1)
    assert (run.state, found) == ("awaiting_approval", {
        changed: "missing_remote", lost: "stale_binding", made_since: "stale_binding"})
    assert reconciliation.drift(run.counts) == 1
    with hub.db.write() as session:
        runs.approve(session, {"id": run.id, "count": 3}, utcnow(), by=ADMIN)
    hub.until_run(run.id, "completed")
    eventually(lambda: hub.ledger(connection_id).open == 0, 30)

    assert sorted(row.key for row in target.of("customer")) == sorted([changed, lost, made_since])
    assert stands.items() <= {row.key: row.id for row in target.of("customer")}.items()
    assert {row.body["name"] for row in target.of("customer") if row.key == changed} == {"v2"}
    again, found = reconcile()
    assert (again.state, found, hub.ledger(connection_id).balanced) == ("completed", {}, True)


@on_sqlite
def test_what_a_target_tells_after_an_older_database_was_restored_is_not_taken_for_old_by_those_who_hear_it(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id, now = hub.connect(target, "product", direction="pull"), utcnow()

    def read(version: str, minutes: int) -> None:
        at = now + dt.timedelta(minutes=minutes)
        news = [News(external_id="1", version=version, record={"sku": version})]
        with hub.db.write() as session:
            inbound.tell(session, connection_id, "product", news, Reading(since=at, now=at))

    read("a", 0)
    older = hub.rows(Sighting)[0].version
    for n in range(3):
        read(f"b{n}", 1)
    with hub.db.write() as session:
        session.execute(sa.update(Sighting).values(version=older, remote_version="a"))
    read("c", 2)

    with hub.db.read() as session:
        bodies = session.scalars(sa.select(OUTBOX.c.body).where(OUTBOX.c.routing_key == "external.changed"))
        told = {(data := json.loads(body))["data"]["remote_version"]: data["entityversion"] for body in bodies}
    assert told["c"] > max(told[f"b{n}"] for n in range(3))
