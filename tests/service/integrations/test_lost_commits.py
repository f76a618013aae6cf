"""A commit may be made, and only the word of it be lost: what was claimed then was never called, and is known to us."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.orm import Session

from chassis.database import Database
from contracts.errors import Unavailable
from services.integrations.models import Delivery
from tests.service.integrations.conftest import Hub
from tests.support.fake_target import FakeTarget


class Lossy:
    """A database that loses the word of the first commit after which something is leased."""

    def __init__(self, db: Database, *, commits: bool) -> None:
        self._db, self._commits, self.lost = db, commits, 0

    def read(self) -> object:
        return self._db.read()

    @contextmanager
    def write(self) -> Iterator[Session]:
        with self._db.write() as session:
            yield session
            loses = not self.lost and session.query(Delivery).filter_by(state="leased").count() > 0
            if loses and not self._commits:
                self.lost += 1
                raise Unavailable("The database is away", retry_after_s=1)
        if loses:
            self.lost += 1
            raise Unavailable("The database is away", retry_after_s=1)


@pytest.mark.parametrize("commits", [True, False], ids=["made", "not-made"])
def test_what_a_turn_of_unknown_end_has_claimed_goes_out_once_without_waiting_for_its_lease(
    hub: Hub, target: FakeTarget, *, commits: bool
) -> None:
    hub.connect(target, "customer")
    hub.engine.dispatcher._db = lossy = Lossy(hub.db, commits=commits)  # type: ignore[assignment]
    hub.run()
    customer = hub.customer()

    hub.until(customer, "delivered")

    assert (lossy.lost, len(target.calls("POST"))) == (1, 1)
    assert hub.deliveries(customer)[0].attempts == 0
