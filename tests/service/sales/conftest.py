"""The sales room on each database; a file's tests share it and find it empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.sales.selling import Selling
from tests.support.rooms import Premises


@pytest.fixture(scope="module")
def selling(premises: Premises) -> Iterator[Selling]:
    """Sales, running."""
    running = Selling.started(premises.home, premises.amqp_uri, premises.db_uri)
    yield running
    running.rooms.stop_all()


@pytest.fixture
def hub(selling: Selling) -> Iterator[Selling]:
    """Sales, which knows of nothing yet."""
    yield selling
    selling.clear()
