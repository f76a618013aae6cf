"""What every adapter's tests against a real system share: contexts as the engine lends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub_adapter.client import Exchange, HttpPolicy, Transport
from hub_adapter.port import Context

Lend = Callable[..., Context]


@pytest.fixture
def exchanges() -> list[Exchange]:
    """What went over the wire in this test, in order."""
    return []


@pytest.fixture
def lend(exchanges: list[Exchange]) -> Iterator[Lend]:
    """Opens a context as the engine does: `lend(config, secrets)`."""
    transports: list[Transport] = []

    def lent(
        config: Mapping[str, Any], secrets: Mapping[str, str], *, dry_run: bool = False, read_timeout_s: float = 20
    ) -> Context:
        allowed = tuple(config["allow_private"])
        transports.append(Transport(HttpPolicy(allow_private=allowed, read_timeout_s=read_timeout_s)))
        return Context(
            http=transports[-1].session(secrets=secrets.values(), observer=exchanges.append, dry_run=dry_run),
            secrets=secrets,
            config=config,
            clock=lambda: datetime.now(UTC),
            deadline=datetime.now(UTC) + timedelta(seconds=25),
            dry_run=dry_run,
        )

    yield lent
    for transport in transports:
        transport.close()
