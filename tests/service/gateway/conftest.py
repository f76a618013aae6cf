"""One running hub for all tests of a file; they leave no trace that another would trip over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.gateway.running import Hub
from tests.support.broker import Management
from tests.support.processes import Processes


@pytest.fixture(scope="module")
def hub(broker: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Identity, customers and the gateway as processes on a virtual host of their own."""
    broker.start()
    vhost = broker.create_vhost()
    home = tmp_path_factory.mktemp("hub")
    running = Hub(home, vhost.amqp_uri, Processes(home))
    try:
        running.start("identity", "customers")
        yield running
    finally:
        running.processes.stop_all()
        broker.delete_vhost(vhost.name)
