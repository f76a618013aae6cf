"""What every schedule of a Python process shares, and the two things that the engine is given in the place of its own:
a database whose user may end at any commit, and calls that hang for as long as the schedule likes."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import greenlet
import structlog
from sqlalchemy.orm import Session

from chassis import database, owner
from chassis.context import Subject
from chassis.crypto import DataKeys, Keyring, MasterKey, WireCodec
from chassis.database import Database
from chassis.outbox import OUTBOX
from chassis.sealed import KEYRING
from contracts.errors import Unavailable
from contracts.schema import install_codec
from hub_adapter.port import CheckResult
from services.integrations.adapters import registry
from services.integrations.engine.targets import Targets
from services.integrations.engine.workers import Workers
from services.integrations.operations import connections, payloads, routes
from services.integrations.operations.jobs import Job
from services.integrations.operations.records import HASHED
from services.integrations.settings import IntegrationsSettings
from tests.simulation.clock import Clock
from tests.simulation.target import REFUSALS, AskedAdapter, BlindAdapter, Fate, KeyedAdapter, Request, SimulatedAdapter
from tests.support.migrated import bring_up_to_date

ADMIN = Subject(id="018f0000-0000-7000-8000-000000000001", kind="user", name="admin", depths={"*": {"*": "all"}})
ADAPTERS: dict[str, type[SimulatedAdapter]] = {
    "sim_keyed": KeyedAdapter, "sim_asked": AskedAdapter, "sim_blind": BlindAdapter}


class Killed(BaseException):
    """The process that was at work has ended."""


class Fragile(Database):
    """A database whose user may end before or after any of its commits, or never hear what became of one."""

    doom: int | None = None
    """Commits and their sides that are lived through: 0 ends before the first, 1 after it, 2 before the second."""
    deaf: bool = False
    """Whether then the user goes on, and only the word of the commit is lost."""

    @contextmanager
    def write(self, *, yielding: bool = False) -> Iterator[Session]:
        with super().write() as session:  # who else runs meanwhile is for the schedule to say
            yield session
            self._survive()
        self._survive()

    def _survive(self) -> None:
        if self.doom is None:
            return
        if self.doom == 0:
            self.doom = None
            raise Unavailable("The word of a commit is lost") if self.deaf else Killed
        self.doom -= 1


class Calls(Workers):
    """Calls that wait to be made, or for an answer: each goes on when the schedule says so."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.hanging: list[tuple[greenlet.greenlet, Request]] = []

    @property
    def busy(self) -> int:
        return len(self.waiting) + len(self.hanging)

    def do(self, work: Callable[[], None]) -> None:
        self.waiting.append(work)

    def stand_aside(self) -> None:
        """Stay: who runs next is for the schedule to say."""

    def begin(self, n: int) -> Job | None:
        """Make one of the calls that wait, until its bytes are on the wire; return its job, None if none have left."""
        work = self.waiting.pop(n % len(self.waiting))
        job: Job | None = getattr(work.args[0], "job", None)
        if job is None:
            work()  # whether a target answers again: that is told at once
            return None
        one = greenlet.greenlet(work)
        self._note(one, one.switch())
        return None if one.dead else job

    def go_on(self, n: int, fate: Fate) -> None:
        """Say what became of one that hangs; it may hang once more."""
        one, request = self.hanging[n % len(self.hanging)]
        if fate == "held":
            request.target.serve(request)
            return
        if not request.target.up and fate not in REFUSALS:
            fate = "refused"
        self.hanging.remove((one, request))
        self._note(one, one.switch(fate))

    def _note(self, one: greenlet.greenlet, request: Request | None) -> None:
        if not one.dead and request is not None:
            self.hanging.append((one, request))

    def finish(self) -> int:
        """Make every call that waits, and let all be answered; return how many were on the wire at once."""
        while self.waiting:
            self.begin(0)
        crowd = len(self.hanging)
        while self.hanging:
            self.go_on(0, "done")
        return crowd

    def end(self) -> None:
        """End with the process; what is on the wire may be served yet."""
        for one, request in self.hanging:
            request.target.cut(request)
            one.throw(greenlet.GreenletExit)
        self.hanging, self.waiting = [], []


class Lab:
    """What the schedules of one Python process share: keys, databases, adapters, and the clock that all of it goes by.

    Args:
        home: a folder for keys.
        db_uri: the database of the integrations service; by default one in memory, a fresh copy for each schedule.
            Nothing is lost by that: what a schedule kills is a process between two commits, never the machine.
        adapters: to whose targets everything is brought; by default to each.
        limits: of their connections.
    """

    def __init__(self, home: Path, db_uri: str = "", adapters: Collection[str] = tuple(ADAPTERS),
                 **limits: int) -> None:
        self.clock = Clock()
        self.gone: set[str] = set()
        made = db_uri or f"sqlite:///{home / 'template.sqlite'}"
        bring_up_to_date("integrations", made)
        key_file = home / "keys" / "master.key"
        self.keyring = Keyring(MasterKey.create(key_file), DataKeys(made))
        self.keyring.prepare([HASHED, payloads.HASHED])
        install_codec(WireCodec(MasterKey.load(key_file)))
        self.settings = IntegrationsSettings(room="integrations", home=home, db_uri=made)
        self.targets = Targets(self.keyring)
        info = {KEYRING: self.keyring}
        self.source = Fragile("sqlite://", clock=self.clock.now)
        with self.source.write() as session:
            OUTBOX.create(session.connection())
        self.db = Fragile(made, pool_size=2, info=info, clock=self.clock.now)
        self.connections = {name: self._connect(name, limits) for name in adapters}
        self.tables: sqlite3.Connection | None = None
        if not db_uri:
            self.db.close()
            self._template = _in_memory(home / "template.sqlite")
            self.db = Fragile("sqlite://", info=info, clock=self.clock.now)
            with closing(self.db.engine.raw_connection()) as pooled:
                self.tables = pooled.driver_connection

    def _connect(self, adapter: str, limits: Mapping[str, int]) -> str:
        asked = {"name": adapter, "adapter": adapter, "config": {"target": adapter}, **limits}
        with self.db.write() as session:
            made = connections.create(session, asked, by=ADMIN)
            connections.checked(session, made.id, made.setup_version, CheckResult(), self.clock.now())
            session.flush()
            for entity in ("customer", "order"):
                route = routes.create(session, {"connection_id": made.id, "entity": entity, "direction": "push"},
                                      by=ADMIN)
                routes.activate(session, {"id": route.id}, by=ADMIN)
        return made.id

    def restart(self) -> None:
        """Begin the next schedule with empty tables."""
        self.clock.restart()
        self.gone.clear()
        if self.tables is not None:
            self._template.backup(self.tables)
        with self.source.write() as session:
            session.execute(OUTBOX.delete())

    def close(self) -> None:
        self.db.close()
        self.source.close()


def _in_memory(file: Path) -> sqlite3.Connection:
    """Return a copy of a database file, from which copies are made faster than tables are emptied."""
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    with closing(sqlite3.connect(file)) as made:
        made.backup(copy)
    return copy


@contextmanager
def lab(home: Path, db_uri: str = "", **options: Any) -> Iterator[Lab]:
    """Put the simulation in the place of the clock that makes ids, of /proc, of the adapters, and of the log."""
    logging_before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with ExitStack() as stack:
        stack.callback(structlog.configure, **logging_before)
        stack.callback(registry.load.cache_clear)
        for name, adapter in ADAPTERS.items():
            stack.enter_context(patch.dict(registry.OURS, {name: f"{adapter.__module__}:{adapter.__name__}"}))
        registry.load.cache_clear()
        made = Lab(home, db_uri, **options)
        stack.callback(made.close)
        stack.enter_context(patch.object(database, "uuid_utils", made.clock))
        stack.enter_context(patch.object(owner, "gone", lambda owners: made.gone & set(owners)))
        yield made
