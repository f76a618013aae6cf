"""A scripted gateway, and `hub` asking it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted_gateway import Gateway
from tests.support.scripted_http import ScriptedServer


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with ScriptedServer() as server:
        yield Gateway(server, tmp_path)
