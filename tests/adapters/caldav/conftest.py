"""The adapter against the real task server of deploy/sandbox/radicale."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hub_adapter.conformance.system import Sample, System
from hub_adapter.port import Context
from services.integrations.adapters.caldav.adapter import CaldavAdapter
from services.integrations.adapters.caldav.mapping import uid_of
from tests.adapters.caldav.calling import as_write
from tests.adapters.conftest import Lend
from tests.support.radicale import TaskServer, running_task_server
from tests.support.records import a_task

Open = Callable[..., Context]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "adapters/caldav" in item.path.as_posix():
            item.add_marker(pytest.mark.radicale)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskServer]:
    with running_task_server(tmp_path_factory.mktemp("tasks")) as running:
        yield running


@pytest.fixture
def home(server: TaskServer) -> TaskServer:
    """The server with no calendar in its home: for tests that look at all of them."""
    folder = server.state / "collections" / "collection-root" / "team"
    for calendar in [path.name for path in folder.iterdir() if not path.name.startswith(".")]:
        server.ask("DELETE", f"{calendar}/")
    return server


@pytest.fixture
def system(server: TaskServer) -> System:
    """The task server as the conformance kit is told of it: all tasks in one calendar, each with a title of its own."""
    task = Sample(
        make=lambda: as_write(a_task(title=f"回访 {uuid.uuid4().hex}"), "kit"),
        texts={"title": 500, "description": 5000},
        times=("due_at",),
        optional=("due_at", "description", "completed_at"),
    )
    return System(
        config=server.config(),
        secrets=server.secrets,
        samples={"task": task},
        count=lambda entity, cmd: server.holding("kit", cmd.body["title"]),
        nowhere=uid_of("nobody's task"),
    )


@pytest.fixture
def adapter() -> CaldavAdapter:
    return CaldavAdapter()


@pytest.fixture
def account() -> str:
    """Somebody's calendar that does not exist yet."""
    return f"user-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def ctx(server: TaskServer, lend: Lend) -> Open:
    """Opens a context as the engine does: `ctx()`, `ctx(dry_run=True)`, `ctx(base_url=…, password=…)`."""

    def opened(*, dry_run: bool = False, password: str | None = None, **changed: Any) -> Context:
        secrets = server.secrets | ({"password": password} if password else {})
        return lend(server.config(**changed), secrets, dry_run=dry_run)

    return opened
