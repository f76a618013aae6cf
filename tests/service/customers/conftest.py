"""The customers room on each database; a file's tests share it and keep to records of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.customers.desk import Desk
from tests.support.rooms import Premises


@pytest.fixture(scope="module")
def desk(premises: Premises) -> Iterator[Desk]:
    """Customers, running."""
    running = Desk(premises.home, premises.amqp_uri, premises.db_uri)
    yield running
    running.rooms.stop_all()
