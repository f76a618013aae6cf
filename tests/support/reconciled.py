"""A hub with one connection to a real system, whose records are compared with what stands there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chassis.database import new_id, utcnow
from services.integrations.engine import checks
from services.integrations.models import Connection, Delivery, Finding, Run
from services.integrations.operations import connections, credentials, intake, runs
from tests.service.integrations.conftest import ADMIN, Hub
from tests.support.processes import eventually

KNOWN = 6
"""Records that are there: of so few, one that vanishes is more than a twentieth."""


class Reconciled:
    """One entity at one connection; what stands there beside it, of other tests, is nobody's here."""

    def __init__(self, hub: Hub, connection_id: str, entity: str) -> None:
        self.hub, self.connection_id, self.entity = hub, connection_id, entity
        self.ids: list[str] = []

    def tell(self, kind: str, record: Mapping[str, Any]) -> str:
        """Tell the hub of a record; return its id."""
        id, version = record["id"], record["version"]
        change = intake.Change(new_id(), f"customers.{self.entity}.{kind}", "hub", id, version, record)
        with self.hub.db.write() as session:
            self.hub.engine.wake(intake.accept(session, self.hub.keyring, change, utcnow()))
        self.ids.append(id)
        return str(id)

    def settled(self) -> None:
        """Wait until all that was accepted is at the target."""
        eventually(lambda: self.hub.ledger(self.connection_id).open == 0, 60)
        ledger = self.hub.ledger(self.connection_id)
        assert (ledger.dead, ledger.balanced) == (0, True)

    def run(self, **options: Any) -> Run:
        """Reconcile until the run has ended or asks."""
        run_id = self.hub.start_run(self.connection_id, "reconcile", self.entity, **options)
        self.hub.engine.runner.wake()
        eventually(lambda: self.hub.the_run(run_id).state not in ("pending", "running"), 60)
        return self.hub.the_run(run_id)

    def mend(self, run: Run) -> Run:
        """Agree with all that the run would do, and wait until it is done."""
        decided = self.hub.rows(Finding, Finding.run_id == run.id, Finding.state == "decided")
        with self.hub.db.write() as session:
            runs.approve(session, {"id": run.id, "count": len(decided)}, utcnow(), by=ADMIN)
        self.hub.engine.runner.wake()
        done = self.hub.until_run(run.id, "completed")
        self.settled()
        return done

    def found(self, run: Run) -> dict[str, Finding]:
        """What was found of our records, by the record."""
        rows = self.hub.rows(Finding, Finding.run_id == run.id, Finding.local_id.in_(self.ids))
        assert len({row.local_id for row in rows}) == len(rows)
        return {row.local_id: row for row in rows}

    def require_quiet(self) -> None:
        """Reconcile once more: nothing of ours is found, nothing of anybody's waits for a word, and nothing is sent."""
        before = len(self.hub.rows(Delivery))
        again = self.run()
        assert (again.state, self.found(again)) == ("completed", {})
        assert again.counts.get("to_confirm", 0) == 0
        assert len(self.hub.rows(Delivery)) == before


@contextmanager
def reconciled(home: Path, adapter: str, entity: str, config: Mapping[str, Any], secrets: Mapping[str, str],
               direction: str = "push") -> Iterator[Reconciled]:
    """Connect a hub to a system, with one route, and run it."""
    hub = Hub(home, f"sqlite:///{home / 'hub.sqlite'}")
    try:
        with hub.db.write() as session:
            made = connections.create(session, {"name": adapter, "adapter": adapter, "config": dict(config)}, by=ADMIN)
            credentials.put(session, hub.keyring, {"id": made.id, "secrets": dict(secrets)}, by=ADMIN)
            connection_id = made.id
        checks.check(hub.db, hub.keyring, connection_id, 20, by=ADMIN)
        with hub.db.read() as session:
            assert session.get_one(Connection, connection_id).check_ok
        hub.route(connection_id, entity, direction)
        hub.run()
        hub.start(hub.engine.runner)
        yield Reconciled(hub, connection_id, entity)
    finally:
        hub.close()
