"""All rooms as processes, without an external system; files that ask for them share them, with records of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.gateway.running import Hub
from tests.support.broker import Management
from tests.support.plugged import plug_in
from tests.support.processes import Processes
from tests.support.rooms import SERVICES

ROOMS = ("identity", "customers", "sales", "integrations")


@pytest.fixture(scope="session")
def all_rooms(broker: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Every room and the gateway on a virtual host of their own, and an administrator signed in."""
    broker.start()
    vhost = broker.create_vhost()
    home = tmp_path_factory.mktemp("hub")
    running = Hub(home, vhost.amqp_uri, Processes(home), settings={"PYTHONPATH": plug_in(home / "plugged")})
    try:
        running.start(*SERVICES)
        yield running
    finally:
        running.processes.stop_all()
        broker.delete_vhost(vhost.name)
