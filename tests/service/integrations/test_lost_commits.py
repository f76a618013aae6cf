"""A commit may be made, and only the word of it be lost: what was claimed then was never called, and is known to us."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.orm import Session

from chassis.database import Database
from contracts.errors import Unavailable
from services.integrations.engine import dispatcher
from services.integrations.models import Delivery
from services.integrations.operations import unmade
from tests.service.integrations.conftest import Hub
from tests.support.fake_target import FakeTarget

AWAY = Unavailable("The database is away", retry_after_s=1)


class Lossy:
    """A database that loses the word of some commits after which something is leased, and may not make them either."""

    def __init__(self, hub: Hub, *, many: int = 1, commits: bool = True, error: Exception = AWAY) -> None:
        self._db: Database = hub.db
        self._many, self._commits, self._error, self.lost = many, commits, error, 0
        hub.engine.dispatcher._db = self  # type: ignore[assignment]

    def read(self) -> object:
        return self._db.read()

    @contextmanager
    def write(self, *, yielding: bool = False) -> Iterator[Session]:
        with self._db.write(yielding=yielding) as session:
            yield session
            loses = self.lost < self._many and session.query(Delivery).filter(Delivery.lease_until.is_not(None)).count()
            self.lost += bool(loses)
            if loses and not self._commits:
                raise self._error
        if loses:
            raise self._error


@pytest.mark.parametrize("commits", [True, False], ids=["made", "not-made"])
@pytest.mark.parametrize("error", [AWAY, RuntimeError("of a hook")], ids=["away", "broken"])
def test_what_a_turn_of_unknown_end_has_claimed_goes_out_once_without_waiting_for_its_lease(
    hub: Hub, target: FakeTarget, error: Exception, *, commits: bool
) -> None:
    hub.connect(target, "customer")
    lossy = Lossy(hub, commits=commits, error=error)
    hub.run()
    customer = hub.customer()

    hub.until(customer, "delivered")

    assert (lossy.lost, len(target.calls("POST"))) == (1, 1)
    assert hub.deliveries(customer)[0].attempts == 0


def test_so_does_what_was_claimed_ahead_though_the_word_is_lost_three_times(hub: Hub, target: FakeTarget) -> None:
    id = hub.connect(target, "customer", max_in_flight=1)
    hub.engine.dispatcher._flights._took[id] = 0.0
    customers = [hub.customer() for _ in range(4)]
    lossy = Lossy(hub, many=3)
    hub.run()

    for customer in customers:
        hub.until(customer, "delivered")

    assert (lossy.lost, len(target.calls("POST"))) == (3, 4)


def test_a_look_up_of_unknown_end_is_made_again_and_what_it_looks_for_stays_in_doubt_meanwhile(
    hub: Hub, target: FakeTarget
) -> None:
    hub.connect(target, "customer")
    target.fail(method="POST", drop="after")
    hub.run()
    customer = hub.customer()
    hub.until(customer, "in_doubt")
    lossy = Lossy(hub)

    hub.hurry(customer)
    hub.until(customer, "delivered")

    assert (lossy.lost, len(target.of("customer"))) == (1, 1)
    assert [(a.action, a.outcome) for a in hub.attempts(customer)][:3] == [
        ("write", "failed"), ("find", "not_made"), ("find", "found")]


def test_a_process_that_is_stopped_meanwhile_gives_it_back_before_it_ends(hub: Hub, target: FakeTarget) -> None:
    hub.connect(target, "customer")
    Lossy(hub)
    customer = hub.customer()
    with pytest.raises(Unavailable):
        hub.engine.dispatcher.round()
    assert hub.states(customer) == ["leased"]

    hub.engine.dispatcher.stop()
    hub.engine.dispatcher.run()

    assert (hub.states(customer), target.calls("POST")) == (["pending"], [])
    assert [attempt.outcome for attempt in hub.attempts(customer)] == ["not_made"]


def test_one_that_cannot_be_given_back_stands_in_nobodys_way(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.connect(target, "customer", max_in_flight=2)
    Lossy(hub)
    stuck, other = hub.customer(), hub.customer()

    def give_back(session: Session, jobs: Sequence[Any], *args: Any) -> set[str]:
        if any(job.lane[2] == stuck for job in jobs):
            raise ValueError("of this one")
        return unmade.give_back(session, jobs, *args)

    monkeypatch.setattr(dispatcher, "unmade", type("Stuck", (), {"give_back": staticmethod(give_back)}))
    hub.run()

    hub.until(other, "delivered")
    assert hub.states(stuck) == ["leased"], "its lease ends, and a look at the target tells"


def test_nothing_of_a_connection_that_makes_way_is_claimed_until_it_goes_on(hub: Hub, target: FakeTarget) -> None:
    id = hub.connect(target, "customer")
    customer = hub.customer()
    hub.engine.dispatcher.make_way(id)
    hub.engine.dispatcher.round()
    assert (hub.states(customer), target.calls("POST")) == (["pending"], [])

    hub.engine.dispatcher.go_on(id)
    hub.run()

    hub.until(customer, "delivered")
