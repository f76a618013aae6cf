"""The adapter against the real Ghost of deploy/sandbox/ghost: `make ghost`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hub_adapter.conformance.system import Sample, System
from hub_adapter.port import Context, Write
from services.integrations.adapters.ghost.adapter import ENTITIES, GhostAdapter
from tests.adapters.conftest import Lend
from tests.support.ghost import Newsletter, running_newsletter

Open = Callable[..., Context]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "adapters/ghost" in item.path.as_posix():
            item.add_marker(pytest.mark.ghost)
            item.add_marker(pytest.mark.timeout(900))  # the first run installs it


@pytest.fixture(scope="session")
def ghost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newsletter]:
    with running_newsletter(tmp_path_factory.mktemp("newsletter")) as running:
        yield running


@pytest.fixture
def system(ghost: Newsletter) -> System:
    """The newsletter as the conformance kit is told of it."""

    def count(entity: str, cmd: Write) -> int:
        told: list[Any] = ghost.ask("GET", f"members/?filter=email:'{cmd.body['email']}'")["members"]
        return len(told)

    return System(
        config=ghost.config(),
        secrets=ghost.secrets,
        samples={entity: Sample(make=new_person, texts={"name": 191}, optional=("name",)) for entity in ENTITIES},
        count=count,
        nowhere="0" * 24,
        webhook=lambda entity, external_id, age_s: ghost.message(external_id, age_s),
    )


def new_person() -> Write:
    """Somebody with consent and an address that nobody has yet."""
    id = str(uuid.uuid4())
    consent = {"email": {"state": "granted", "at": "2020-01-01T00:00:00.000Z"}}
    body = {"id": id, "email": f"{id}@example.com", "name": "王小明", "consent": consent}
    return Write(local_id=id, body=body, idempotency_key=f"k-{id}", source_version=1)


@pytest.fixture
def adapter() -> GhostAdapter:
    return GhostAdapter()


@pytest.fixture
def ctx(ghost: Newsletter, lend: Lend) -> Open:
    """Opens a context as the engine does: `ctx()`, `ctx(dry_run=True)`, `ctx(base_url=…, admin_key=…)`."""

    def opened(*, dry_run: bool = False, admin_key: str | None = None, **changed: Any) -> Context:
        secrets = ghost.secrets | ({"admin_key": admin_key} if admin_key else {})
        return lend(ghost.config(**changed), secrets, dry_run=dry_run)

    return opened
