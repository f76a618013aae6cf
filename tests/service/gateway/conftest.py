"""One running hub for all tests of a file; they leave no trace that another would trip over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.gateway.running import Hub, running_hub
from tests.support.broker import Management


@pytest.fixture(scope="module")
def hub(broker: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Identity, customers and the gateway as processes on a virtual host of their own."""
    with running_hub(broker, tmp_path_factory.mktemp("hub"), "identity", "customers") as running:
        yield running
