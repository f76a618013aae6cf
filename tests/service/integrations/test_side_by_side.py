"""What a target tells is taken in after a turn that is being settled, never in the middle of it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.database import new_id, utcnow
from chassis.outbox import OUTBOX
from services.integrations.engine import webhooks
from services.integrations.operations import claims, intake, locks, pulls, sweeps
from services.integrations.operations.claims import Lease
from services.integrations.operations.inbound import News, Reading
from services.integrations.operations.outcomes import Outcome
from services.integrations.operations.settlements import settle
from services.integrations.queries import due, lanes, sightings
from tests.service.integrations.conftest import Hub
from tests.service.integrations.test_conflicts import decide, refuse
from tests.service.integrations.test_two_ways import connect, row_of, task
from tests.support.fake_target import FakeTarget
from tests.support.processes import eventually
from tests.support.two_way import HOOK, message, signature

Read = Callable[[Hub, FakeTarget, str, str], None]


def pull(hub: Hub, target: FakeTarget, connection_id: str, id: str) -> None:
    row, now = row_of(target, id), utcnow()
    news = [News(external_id=row.id, version=str(row.version), record=row.body, account=row.account)]
    with hub.db.write() as session:
        taken = pulls.Pull(connection_id=connection_id, entity="task", checkpoint=None, fence=0, failures=0)
        pulls.take_in(session, taken, news, "9", Reading(since=now, now=now), lease_until=None, next_due=now)


def call(hub: Hub, target: FakeTarget, connection_id: str, id: str) -> None:
    stamp, body = str(int(utcnow().timestamp())), message(row_of(target, id))
    headers = {"x-hook-timestamp": stamp, "x-hook-signature": signature(HOOK, stamp, body)}
    request = {"connection_id": connection_id, "headers": headers, "body": base64.b64encode(body).decode()}
    webhooks.receive(hub.db, hub.engine.targets, request, lambda: None)


def keep_remote(hub: Hub, _target: FakeTarget, _connection_id: str, _id: str) -> None:
    decide(hub, "keep_remote")


def keep_local(hub: Hub, _target: FakeTarget, _connection_id: str, _id: str) -> None:
    decide(hub, "keep_local")


def answer(hub: Hub, _target: FakeTarget, connection_id: str, id: str) -> None:
    task(hub, 2, id, origin=connection_id)


@pytest.fixture
def bound(hub: Hub, target: FakeTarget) -> tuple[str, str]:
    """A task at the target, in dispute, while no engine runs: its connection and id."""
    connection_id, id = connect(hub, target, "task"), task(hub)
    now, row = utcnow(), target.put("task", id, {"title": "回访", "status": "open"})
    with hub.db.write() as session:
        lease = Lease(owner="me", until=now)
        [job], _ = claims.claim(session, hub.keyring, [(connection_id, 1)], lease, now)
    done = Outcome(job=job, started_at=now, ended_at=now, external_id=row.id, remote_version=str(row.version),
                   body=row.body)
    with hub.db.write() as session:
        settle(session, [done], now, lambda: 0.5, 5.0)
    target.put("task", id, row.body | {"status": "done"})
    refuse(hub, connection_id, row.id, id)
    return connection_id, id


def keeps_waiting(session: Session) -> bool:
    """Whether another transaction waits for this one. SQLite does not tell; there one writes at a time anyway."""
    if session.get_bind().dialect.name == "sqlite":
        return True
    return bool(session.scalar(sa.text(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")))


def beside(hub: Hub, read: Callable[[], None], meanwhile: Callable[[Session], object]) -> None:
    """Do `meanwhile`, and commit it only after `read`, begun in another thread, waits or is through."""
    reader = threading.Thread(target=read, daemon=True)
    with hub.db.write() as session:
        meanwhile(session)
        reader.start()
        eventually(lambda: keeps_waiting(session) or not reader.is_alive())
    reader.join(10)
    assert not reader.is_alive()


@pytest.mark.parametrize("read", [pull, call, keep_remote, answer])
def test_nothing_is_compared_with_what_we_know_while_a_turn_is_settled(
    hub: Hub, target: FakeTarget, bound: tuple[str, str], monkeypatch: pytest.MonkeyPatch, read: Read
) -> None:
    connection_id, id = bound
    order: list[str] = []
    asked = sightings.of

    def noted(*given: object) -> object:
        order.append("compared")
        return asked(*given)  # type: ignore[arg-type]

    def settled(session: Session) -> None:
        session.info["turn"] = locks.lock(session, [connection_id])
        sa.event.listen(session, "before_commit", lambda _session: order.append("settled"), once=True)

    monkeypatch.setattr(sightings, "of", noted)

    beside(hub, lambda: read(hub, target, connection_id, id), settled)

    # A glance before, to see what a decision is about, decides nothing.
    assert "settled" in order
    assert order[-1] == "compared"


def test_what_an_owner_refuses_waits_for_a_turn_that_is_being_settled(
    hub: Hub, target: FakeTarget, bound: tuple[str, str]
) -> None:
    connection_id, id = bound
    order: list[str] = []

    def refused() -> None:
        refuse(hub, connection_id, row_of(target, id).id, id)
        order.append("refused")

    def settled(session: Session) -> None:
        session.info["turn"] = locks.lock(session, [connection_id])
        sa.event.listen(session, "before_commit", lambda _session: order.append("settled"), once=True)

    beside(hub, refused, settled)

    assert order == ["settled", "refused"]


def test_what_a_person_decides_takes_the_place_of_an_event_that_was_being_accepted(
    hub: Hub, target: FakeTarget, bound: tuple[str, str]
) -> None:
    connection_id, id = bound
    change = intake.Change(new_id(), "customers.task.updated", "hub", id, 2, {"id": id, "version": 2, "title": "别的"})

    beside(hub, lambda: keep_local(hub, target, connection_id, id),
           lambda session: intake.accept(session, hub.keyring, change, utcnow()))

    assert [(row.state, row.source_version) for row in hub.deliveries(id)] == [
        ("delivered", 1), ("superseded", 2), ("pending", 2)]


def ends_leases(session: Session) -> object:
    return sweeps.end_leases(session, {"me"}, utcnow(), lambda: 0.5)


def releases(session: Session) -> object:
    return sweeps.release_blocked(session, utcnow())


@pytest.mark.parametrize(("state", "sweep"), [("leased", ends_leases), ("blocked", releases)])
def test_a_sweep_waits_for_a_turn_that_is_being_settled(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch, state: str, sweep: Callable[[Session], object]
) -> None:
    connection_id, id, order = hub.connect(target, "order"), new_id(), list[str]()
    now = utcnow()
    row = intake.plan(connection_id, "order", id, "upsert", 1, now) | {"state": state}
    owned = {"lease_owner": "me", "lease_until": now, "blocked_entity": None, "blocked_id": None}
    waits = {"blocked_entity": "customer", "blocked_id": new_id()}
    with hub.db.write() as session:
        intake.add(session, [row | (owned if state == "leased" else waits)])
    asked = {"leased": "expired_leases", "blocked": "blocked_due"}[state]
    select = getattr(due, asked)

    def noted(*given: Any, **named: Any) -> Any:
        if named:
            order.append("swept")
        return select(*given, **named)

    def settled(session: Session) -> None:
        session.info["turn"] = locks.lock(session, [connection_id])
        sa.event.listen(session, "before_commit", lambda _session: order.append("settled"), once=True)

    def read() -> None:
        with hub.db.write() as session:
            sweep(session)

    monkeypatch.setattr(due, asked, noted)
    beside(hub, read, settled)

    assert order == ["settled", "swept"]


def test_two_readers_of_one_record_give_their_changes_numbers_of_their_own(
    hub: Hub, target: FakeTarget, bound: tuple[str, str]
) -> None:
    connection_id, id = bound
    row, now = row_of(target, id), utcnow()

    def page(session: Session) -> None:
        news = [News(external_id=row.id, version="between", record=row.body | {"title": "别的"})]
        taken = pulls.Pull(connection_id=connection_id, entity="task", checkpoint=None, fence=0, failures=0)
        pulls.take_in(session, taken, news, "9", Reading(since=now, now=now), lease_until=None, next_due=now)

    beside(hub, lambda: pull(hub, target, connection_id, id), page)

    with hub.db.read() as session:
        bodies = session.scalars(sa.select(OUTBOX.c.body).where(OUTBOX.c.routing_key == "external.changed")).all()
    assert len({json.loads(body)["entityversion"] for body in bodies}) == 2


@pytest.mark.parametrize("db_uri", ["postgresql"], indirect=True)
def test_an_export_gives_way_to_an_event_that_was_accepted_since_it_looked(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id, id = hub.connect(target, "customer"), new_id()
    with hub.db.write() as session:
        hub.tell_rows(session, [(id, {"id": id, "name": "甲"})])
    look = lanes.open_lanes

    def overtaken(session: Session, wanted: set[lanes.Lane]) -> set[lanes.Lane]:
        found = look(session, wanted)
        event = threading.Thread(target=hub.customer, args=(2, id), daemon=True)
        event.start()
        event.join(30)
        return found

    monkeypatch.setattr(lanes, "open_lanes", overtaken)
    with hub.db.write() as session:
        assert claims.export(session, [(connection_id, "customer", id)], utcnow()) == {connection_id}

    assert [row.source_version for row in hub.deliveries(id)] == [2]
    assert (hub.ledger(connection_id).accepted, hub.ledger(connection_id).balanced) == (1, True)
