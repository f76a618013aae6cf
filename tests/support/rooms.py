"""Rooms started inside the test process, and a caller that stands where the gateway will."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from nameko.extensions import Entrypoint

from chassis import launcher, migrations
from chassis.calling import SIGNING_KEY, Answer, Caller
from chassis.config import Settings
from chassis.container import HubContainer
from chassis.context import SigningKey, Subject, make_signing_key
from chassis.crypto import MasterKey
from chassis.database import Database, new_id
from chassis.entrypoints import RuntimeOf
from chassis.idempotency import IDEMPOTENCY
from chassis.outbox import OUTBOX
from chassis.snapshot import SNAPSHOT_RUN
from contracts.operation import Operation
from hub.installation import Installation
from tests.support.broker import Management
from tests.support.processes import eventually

SERVICES = tuple(room for room in Installation({}).rooms if room != "gateway")
"""Every service, in starting order: what the process file says."""

ADMIN = Subject(id=new_id(), kind="user", name="admin", depths={"*": {"*": "all"}})
"""Somebody who may do everything."""


PATIENT = 6.0
"""Times an operation's own time-out that a call waits where a test is about its answer: a busy machine stands still."""


class _Idle(Entrypoint):
    """nameko takes a class for a service only if it has an entrypoint."""


class _Asker:
    name = "asker"
    runtime = RuntimeOf()
    caller = Caller()

    @_Idle.decorator
    def idle(self) -> None:
        """Never called."""


def make_keys(home: Path) -> SigningKey:
    """Make the keys of a hub in `home`, as `hub up` does."""
    (home / "keys").mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (home / "keys" / "master.key").exists():
        MasterKey.create(home / "keys" / "master.key")
        return make_signing_key(home / "keys" / "tokens", home / "keys" / "gateway-signing.pem")
    return SigningKey.load(home / "keys" / "gateway-signing.pem")


class Rooms:
    """The rooms of one test, all on one broker, each with its own database.

    Attributes:
        patience: times an operation's own time-out that a call waits by default.
    """

    patience = 1.0

    def __init__(self, home: Path, amqp_uri: str, **environ: str) -> None:
        self.home = home
        self.environ = {"HUB_HOME": str(home), "AMQP_URI": amqp_uri, **environ}
        self.signing = make_keys(home)
        self.running: dict[str, HubContainer] = {}

    def start(self, room: str, *, module: Any = None, **environ: str) -> HubContainer:
        """Migrate and start a room; `module` stands in for one that a test makes up."""
        module = module or launcher.room_module(room)
        settings = module.SETTINGS.load(room, {**self.environ, **environ})
        if getattr(module, "BASE", None) is not None and not hasattr(module, "CREATE"):
            migrations.upgrade(room, settings.db_uri)
        container = launcher.build(module, settings)
        container.start()
        self.running[room] = container
        return container

    def call(self, operation: Operation, request: dict[str, Any] | None = None, *, subject: Subject = ADMIN,
             key: str | None = None, **options: Any) -> Any:
        """Call an operation as `subject`; return the answer's value."""
        return self.ask(operation, request, subject=subject, key=key, **options).value

    def ask(self, operation: Operation, request: dict[str, Any] | None = None, *, subject: Subject = ADMIN,
            key: str | None = None, **options: Any) -> Answer:
        """Call an operation as `subject`; the request holds values as a client would send them."""
        options.setdefault("request_id", new_id())
        options.setdefault("timeout_s", self.patience * operation.timeout_s)
        loaded = operation.request().load(request or {})
        return self.caller.call(operation, loaded, subject=subject, key=key, **options)

    @property
    def caller(self) -> Caller:
        """The caller, in a container of its own."""
        if "asker" not in self.running:
            module = types.SimpleNamespace(SERVICE=_Asker, SETTINGS=Settings)
            container = self.start("asker", module=module)
            container.runtime.extra[SIGNING_KEY] = self.signing
            eventually(self.caller.prepare)
        container = self.running["asker"]
        return next(p for p in container.dependencies if isinstance(p, Caller))

    def stop(self, room: str) -> None:
        """Drain one room."""
        container = self.running.pop(room)
        container.stop()
        container.runtime.close()

    def stop_all(self) -> None:
        """Drain all, the caller last."""
        for room in sorted(self.running, key=lambda name: name == "asker"):
            self.stop(room)


def forget(db: Database, tables: sa.MetaData) -> set[str]:
    """Empty a running room's own tables between two tests; return the ids of the events that it has announced so far.

    Events stay, since they may still be under way: one that is told again is known by its id.
    """
    with db.write() as session:
        for table in (*reversed(tables.sorted_tables), IDEMPOTENCY, SNAPSHOT_RUN):
            session.execute(sa.delete(table))
        return set(session.scalars(sa.select(OUTBOX.c.id)))


@pytest.fixture
def rooms(tmp_path: Path, amqp_uri: str) -> Iterator[Rooms]:
    """Rooms on SQLite."""
    started = Rooms(tmp_path, amqp_uri)
    started.patience = PATIENT
    yield started
    started.stop_all()


@dataclass(frozen=True)
class Premises:
    """What a room needs to run: a folder, a virtual host of the broker and a database, all of them fresh."""

    home: Path
    amqp_uri: str
    db_uri: str


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def premises(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
             broker: Management) -> Iterator[Premises]:
    """Premises that the tests of a file share: with SQLite, and then with PostgreSQL."""
    home = tmp_path_factory.mktemp("room")
    broker.start()
    vhost = broker.create_vhost()
    uri, name, cluster = f"sqlite:///{home / 'test.sqlite'}", "", None
    if request.param == "postgresql":
        cluster = request.getfixturevalue("postgres")
        cluster.start()
        name = cluster.create_database()
        uri = cluster.uri(name)
    yield Premises(home, vhost.amqp_uri, uri)
    broker.delete_vhost(vhost.name)
    if cluster is not None:
        cluster.drop_database(name)


def environment(home: Path, amqp_uri: str) -> dict[str, str]:
    """Return what a room started as a process needs in its environment."""
    return {**os.environ, "HUB_HOME": str(home), "AMQP_URI": amqp_uri}
