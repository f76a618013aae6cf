"""A target that is down for sixty hours while its records change: nobody touches anything, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.integrations.models import Connection, Delivery
from services.integrations.queries import deliveries
from tests.simulation.hub import Hub
from tests.simulation.lab import ADMIN, lab

HOURS, CHANGES = 60, 5
LOOK_EVERY_S = 600.0
MOST_AT_ONCE = 16


@pytest.fixture
def hub(tmp_path: Path, db_uri: str) -> Iterator[Hub]:
    with lab(tmp_path, db_uri, adapters=["sim_keyed"], max_in_flight=MOST_AT_ONCE) as made:
        yield Hub(made)


def work(hub: Hub) -> int:
    """Let a process do what is due; return how many calls it had on the wire at once."""
    hub.turn(0)
    crowd = hub.processes[0].calls.finish()
    hub.turn(0)  # at once: a check that the target has passed wakes it too
    return crowd


def stay_down(hub: Hub, records: int) -> None:
    """Let the sixty hours pass; each record changes five times in them."""
    target = hub.targets["sim_keyed"]
    target.up = False
    changed = 0
    while hub.clock.elapsed() < HOURS * 3600:
        if hub.clock.elapsed() >= changed * HOURS * 3600 / CHANGES:
            changed += 1
            hub.accept(f"r{n}" for n in range(records))
        work(hub)
        hub.clock.advance(LOOK_EVERY_S)
    assert (changed, target.rows) == (CHANGES, {})


def come_back(hub: Hub) -> list[int]:
    """Let the target answer again, and wait until nothing is left to do; return the calls that were on the wire."""
    hub.targets["sim_keyed"].up = True
    crowds = []
    while open_deliveries(hub):
        crowds.append(work(hub))
        busy = crowds[-1] or hub.processes[0].calls.waiting  # nobody holds what he has claimed for ten minutes
        hub.clock.advance(1.0 if busy else LOOK_EVERY_S)
    return [crowd for crowd in crowds if crowd]


def open_deliveries(hub: Hub) -> list[str]:
    with hub.lab.db.read() as session:
        return list(session.scalars(sa.select(Delivery.id).where(Delivery.settled_at.is_(None)).limit(1)))


def brought_once_in_its_newest_version(hub: Hub, records: int) -> None:
    """Sixty hours of outage; then every record is there, and was written once."""
    target, [connection_id] = hub.targets["sim_keyed"], hub.lab.connections.values()
    stay_down(hub, records)
    refused = target.refused

    crowds = come_back(hub)

    assert sorted(row.key for row in target.rows.values()) == sorted(f"r{n}" for n in range(records))
    assert {(row.version, row.changes) for row in target.rows.values()} == {(CHANGES, 1)}
    assert target.breaches == []
    assert refused < 20, "the target was left alone while it was down"
    assert target.checked >= HOURS, "and checked again and again"
    assert crowds[:4] == [1, 1, 2, 4]
    assert max(crowds) <= MOST_AT_ONCE
    with hub.lab.db.read() as session:
        connection = session.get_one(Connection, connection_id)
        assert (connection.desired_state, connection.health, connection.version) == ("active", "ok", 1)
        ledger = deliveries.ledger(session, connection_id, ADMIN)
    assert (ledger.accepted, ledger.delivered, ledger.superseded) == (
        CHANGES * records, records, (CHANGES - 1) * records)
    assert ledger.balanced


def test_after_two_days_of_outage_each_record_arrives_once_in_its_newest_version(hub: Hub) -> None:
    brought_once_in_its_newest_version(hub, 60)


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_two_thousand_records_survive_two_days_of_outage(hub: Hub) -> None:
    brought_once_in_its_newest_version(hub, 2000)
