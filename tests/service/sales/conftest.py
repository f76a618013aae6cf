"""The sales room on each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.sales.selling import Selling


@pytest.fixture
def hub(tmp_path: Path, amqp_uri: str, db_uri: str) -> Iterator[Selling]:
    """Sales, running on SQLite and then on PostgreSQL."""
    selling = Selling.started(tmp_path, amqp_uri, db_uri)
    yield selling
    selling.rooms.stop_all()
