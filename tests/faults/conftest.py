"""What the tests of this folder share that carry customers to targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contracts import integrations as contract
from tests.faults.site import Carried, Carry, Site, Target
from tests.support.broker import Management
from tests.support.processes import Processes
from tests.support.rooms import PATIENT, Rooms


@pytest.fixture(scope="module")
def site(broker: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("hub")
    broker.start()
    vhost = broker.create_vhost()
    made = Site(Rooms(home, vhost.amqp_uri), broker, vhost, Processes(home))
    made.rooms.patience = PATIENT
    made.prepare()
    try:
        made.start("customers", "integrations", "integrations")
        yield made
    finally:
        made.processes.stop_all()
        made.rooms.stop_all()
        broker.delete_vhost(vhost.name)


@pytest.fixture
def rooms(site: Site) -> Rooms:
    return site.rooms


@pytest.fixture
def carry(rooms: Rooms) -> Iterator[Carry]:
    """Makes a target with a connection; both go with the test."""
    made: list[Carried] = []

    def make(target: Target, **options: Any) -> Carried:
        made.append(Carried(rooms, target, **options))
        return made[-1]

    yield make
    for one in made:
        rooms.call(contract.STOP_CONNECTION, {"id": one.id})
        one.target.close()


@pytest.fixture
def well(carry: Carry) -> Carried:
    """The other target, at which all is well."""
    return carry(Target())
