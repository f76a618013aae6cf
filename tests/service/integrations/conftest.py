"""The engine of one process on a fresh database of either kind, and a target that does what a test tells it."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.crypto import DataKeys, Keyring, MasterKey, WireCodec
from chassis.database import Database, new_id, utcnow
from chassis.sealed import KEYRING
from contracts.schema import install_codec
from services.integrations.adapters import registry
from services.integrations.engine import checks, runs
from services.integrations.engine.engine import Engine
from services.integrations.models import Attempt, Binding, Connection, Delivery, Record, Run
from services.integrations.operations import connections, credentials, intake, matching, payloads, routes
from services.integrations.operations.records import HASHED, canonical
from services.integrations.queries import deliveries
from services.integrations.settings import IntegrationsSettings
from tests.support import fake_target
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.migrated import bring_up_to_date, create_migrated
from tests.support.postgres import Postgres
from tests.support.processes import eventually
from tests.support.two_way import HOOK

ADMIN = Subject(id=new_id(), kind="user", name="admin", depths={"*": {"*": "all"}})
on_sqlite = pytest.mark.parametrize("db_uri", ["sqlite"], indirect=True)
"""For what no database can change: rules that a neighbouring test shows to hold on both."""
CREATED, UPDATED, CONFIRMED = "customers.customer.created", "customers.customer.updated", "sales.order.confirmed"


@pytest.fixture
def postgres_uri(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """SQLAlchemy URI of a fresh database, migrated unless a file is about that; dropped with the test."""
    postgres.start()
    migrated = request.path.stem != "test_migrations"
    name = create_migrated(postgres, "integrations") if migrated else postgres.create_database()
    yield postgres.uri(name)
    postgres.start()
    postgres.drop_database(name)


@pytest.fixture
def target() -> Iterator[FakeTarget]:
    yield from fake_target.running()


@pytest.fixture(autouse=True)
def _fake_adapters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, adapter in fake_target.ADAPTERS.items():
        monkeypatch.setitem(registry.OURS, name, f"tests.support.fake_target:{adapter.__name__}")
    monkeypatch.setitem(registry.OURS, "two_way", "tests.support.two_way:TwoWayAdapter")
    registry.load.cache_clear()
    yield
    registry.load.cache_clear()


class Hub:
    """The integrations service without its door: tell it events, run its engine, look at its tables."""

    def __init__(self, home: Path, db_uri: str, **settings: Any) -> None:
        bring_up_to_date("integrations", db_uri)
        key_file = home / "keys" / "master.key"
        master = MasterKey.load(key_file) if key_file.exists() else MasterKey.create(key_file)
        self.codec = WireCodec(master)
        install_codec(self.codec)
        self.keyring = Keyring(master, DataKeys(db_uri))
        self.keyring.prepare([HASHED, matching.HASHED, payloads.HASHED])
        self.settings = IntegrationsSettings(room="integrations", home=home, db_uri=db_uri, **settings)
        self.db = Database(db_uri, pool_size=12, info={KEYRING: self.keyring})
        self.engine = self.new_engine()
        self._threads: list[tuple[Any, threading.Thread]] = []

    def new_engine(self) -> Engine:
        return Engine(self.db, self.keyring, self.settings)

    def run(self, engine: Engine | None = None) -> None:
        """Run the engine in the background until the test ends."""
        engine = engine or self.engine
        for part in (engine.dispatcher, engine.sweeper, engine.poller):
            self.start(part)

    def start(self, part: Any) -> None:
        """Run one worker in the background until the test ends."""
        thread = threading.Thread(target=part.run, daemon=True)
        thread.start()
        self._threads.append((part, thread))

    def close(self) -> None:
        for part, _ in self._threads:
            part.stop()
        for _, thread in self._threads:
            thread.join(40)
        self.db.close()

    # --- set-up ---------------------------------------------------------------------------------------------------

    def connect(self, target: FakeTarget, *entities: str, adapter: str = "fake", direction: str = "push",
                key: str = GOOD_KEY, **options: Any) -> str:
        """Make a connection with its credential, checked, with an active route for each entity; return its id."""
        with self.db.write() as session:
            request = {"name": f"c-{new_id()}", "adapter": adapter, "config": target.config, **options}
            connection = connections.create(session, request, by=ADMIN)
            secrets = {"key": key} | ({"hook": HOOK} if adapter == "two_way" else {})
            credentials.put(session, self.keyring, {"id": connection.id, "secrets": secrets}, by=ADMIN)
        checks.check(self.db, self.keyring, connection.id, 10, by=ADMIN)
        for entity in entities:
            self.route(connection.id, entity, direction)
        return connection.id

    def route(self, connection_id: str, entity: str, direction: str = "push") -> str:
        with self.db.write() as session:
            route = routes.create(session, {"connection_id": connection_id, "entity": entity, "direction": direction},
                                  by=ADMIN)
            routes.activate(session, {"id": route.id}, by=ADMIN)
        return route.id

    # --- runs -----------------------------------------------------------------------------------------------------

    def start_run(self, connection_id: str, kind: str, entity: str = "customer", *, reason: str = "",
                  filter: dict[str, Any] | None = None, **options: Any) -> str:
        """Start a run as somebody would; return its id."""
        request = {"kind": kind, "entity": entity, "filter": filter or {}, "options": options, "reason": reason}
        with self.db.write() as session:
            connection = session.get_one(Connection, connection_id)
            return runs.start(session, connection, request, utcnow(), by=ADMIN.id).id

    def the_run(self, id: str) -> Run:
        [run] = self.rows(Run, Run.id == id)
        assert isinstance(run, Run)
        return run

    def until_run(self, id: str, state: str) -> Run:
        """Wait until a run is in a state; return it."""
        eventually(lambda: self.the_run(id).state == state, 30.0)
        return self.the_run(id)

    # --- events ---------------------------------------------------------------------------------------------------

    def tell(self, kind: str, id: str, version: int = 1, *, wake: bool = True, origin: str = "hub",
             traceparent: str = "", **state: Any) -> list[str]:
        """Accept an event as the door would; return the connections that have work."""
        change = intake.Change(new_id(), kind, origin, id, version, {"id": id, "version": version, **state},
                               traceparent)
        with self.db.write() as session:
            woken = intake.accept(session, self.keyring, change, utcnow())
        if wake and woken:
            self.engine.wake(woken)
        return woken

    def tell_rows(self, session: Session, states: list[tuple[str, dict[str, Any]]]) -> None:
        """Put our copies of many customers, in one statement."""
        rows = [{"entity": "customer", "id": id, "version": 1, "deleted": False, "seen_at": utcnow(), "state_hash": "h",
                 "state_sealed": self.keyring.seal(canonical(state), f"record|customer|{id}")} for id, state in states]
        session.execute(sa.insert(Record), rows)

    def customer(self, version: int = 1, id: str | None = None, **state: Any) -> str:
        id = id or new_id()
        self.tell(CREATED if version == 1 else UPDATED, id, version, **({"name": f"v{version}"} | state))
        return id

    # --- looking --------------------------------------------------------------------------------------------------

    def rows(self, model: Any, *where: Any) -> list[Any]:
        with self.db.read() as session:
            order = model.__table__.primary_key.columns
            return list(session.scalars(sa.select(model).where(*where).order_by(*order)))

    def deliveries(self, local_id: str) -> list[Delivery]:
        return self.rows(Delivery, Delivery.local_id == local_id)

    def states(self, local_id: str) -> list[str]:
        return [row.state for row in self.deliveries(local_id)]

    def attempts(self, local_id: str) -> list[Attempt]:
        ids = [row.id for row in self.deliveries(local_id)]
        return sorted(self.rows(Attempt, Attempt.delivery_id.in_(ids)), key=lambda attempt: attempt.started_at)

    def binding(self, local_id: str) -> Binding:
        found: Binding = self.rows(Binding, Binding.local_id == local_id)[0]
        return found

    def connection(self, id: str) -> Connection:
        found: Connection = self.rows(Connection, Connection.id == id)[0]
        return found

    def ledger(self, connection_id: str) -> Any:
        with self.db.read() as session:
            return deliveries.ledger(session, connection_id, ADMIN)

    def until(self, local_id: str, *states: str, timeout_s: float = 30.0) -> None:
        """Wait until the record's deliveries, oldest first, are in these states."""
        try:
            eventually(lambda: self.states(local_id) == list(states), timeout_s)
        except AssertionError:
            shown = [(row.state, row.error_class, row.last_error) for row in self.deliveries(local_id)]
            raise AssertionError(f"wanted {states}, have {shown}") from None

    # --- time -----------------------------------------------------------------------------------------------------

    def hurry(self, local_id: str | None = None, *, by_s: float = 10**6) -> None:
        """Let time pass for deliveries: what was to wait is due, and doubts are as old."""
        back = dt.timedelta(seconds=by_s)
        rows = self.deliveries(local_id) if local_id else self.rows(Delivery)
        with self.db.write() as session:
            for row in rows:
                session.execute(sa.update(Delivery).where(Delivery.id == row.id).values(
                    due_at=row.due_at - back, doubt_since=row.doubt_since and row.doubt_since - back))
        self.engine.wake({row.connection_id for row in rows})

    def quiet(self, seconds: float) -> None:
        """Give the engine time to do what it should not do."""
        time.sleep(seconds)


@pytest.fixture
def make_hub(tmp_path: Path, db_uri: str) -> Iterator[Callable[..., Hub]]:
    """Makes hubs on this test's database, with settings of their own."""
    made: list[Hub] = []

    def make(**settings: Any) -> Hub:
        made.append(Hub(tmp_path, db_uri, **({"sweep_every_s": 0.2} | settings)))
        return made[-1]

    yield make
    for hub in made:
        hub.close()


@pytest.fixture
def hub(make_hub: Callable[..., Hub]) -> Hub:
    """A hub whose engine is not running yet."""
    return make_hub()
