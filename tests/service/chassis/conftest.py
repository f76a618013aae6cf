"""The lab room, for every test of the chassis on a real broker."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis.context import Subject
from tests.support.broker import Management, Vhost
from tests.support.processes import Processes
from tests.support.rooms import Rooms, make_keys

# `services` is a namespace: the lab joins it from a folder of its own.
sys.path.append(str(Path(__file__).parent / "lab"))

from tests.service.chassis.laboratory import FIGURES, Lab


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    for figure in FIGURES:
        terminalreporter.line(f"measured: {figure}")


@pytest.fixture
def lab(tmp_path: Path, broker: Management, vhost: Vhost, processes: Processes) -> Iterator[Lab]:
    """The lab on SQLite; nothing started yet."""
    home = processes.home
    make_keys(home)
    started = Lab(home, vhost, broker, Rooms(home, vhost.amqp_uri), processes, {})
    yield started
    broker.start()
    started.rooms.stop_all()


@pytest.fixture
def lab_on(lab: Lab, db_uri: str) -> Lab:
    """The lab on each database."""
    lab.environ["DB_URI_LAB"] = db_uri
    return lab


@pytest.fixture
def lab_on_postgres(lab: Lab, postgres_uri: str) -> Lab:
    """The lab on PostgreSQL."""
    lab.environ["DB_URI_LAB"] = postgres_uri
    return lab


@pytest.fixture
def somebody() -> Subject:
    """A subject of its own, so that keys of other tests cannot meet."""
    return Subject(id=str(uuid.uuid4()), kind="user", name="somebody", depths={"*": {"*": "all"}})

