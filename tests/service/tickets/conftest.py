"""The tickets room on each database; a file's tests share it and keep to records of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.tickets.helpdesk import HelpDesk
from tests.support.rooms import Premises


@pytest.fixture(scope="module")
def desk(premises: Premises) -> Iterator[HelpDesk]:
    """Tickets, running."""
    running = HelpDesk.started(premises.home, premises.amqp_uri, premises.db_uri)
    yield running
    running.rooms.stop_all()
