"""The sales room on each database; a file's tests share it and find it empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.sales.selling import Selling
from tests.support.broker import Management


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def selling(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
            broker: Management) -> Iterator[Selling]:
    """Sales, running on SQLite and then on PostgreSQL."""
    home = tmp_path_factory.mktemp("sales")
    broker.start()
    vhost = broker.create_vhost()
    uri, name, cluster = f"sqlite:///{home / 'test.sqlite'}", "", None
    if request.param == "postgresql":
        cluster = request.getfixturevalue("postgres")
        cluster.start()
        name = cluster.create_database()
        uri = cluster.uri(name)
    running = Selling.started(home, vhost.amqp_uri, uri)
    yield running
    running.rooms.stop_all()
    broker.delete_vhost(vhost.name)
    if cluster is not None:
        cluster.drop_database(name)


@pytest.fixture
def hub(selling: Selling) -> Iterator[Selling]:
    """Sales, which knows of nothing yet."""
    yield selling
    selling.clear()
