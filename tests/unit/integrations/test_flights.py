"""The calls of one process: which of them hold a slot, and how many more may be claimed ahead."""

from __future__ import annotations

import threading
from typing import cast

from chassis.database import utcnow
from services.integrations.engine.flights import ROUNDS, Flight, Flights
from services.integrations.engine.targets import Target
from services.integrations.operations.jobs import Job
from services.integrations.operations.outcomes import Outcome

SLOTS = 2


def flight(name: str) -> Flight:
    now = utcnow()
    job = Job(delivery_id=name, connection_id="erp", entity="customer", local_id=name, op="upsert", action="write",
              fence=1, attempts=0, deferrals=0, version=1, key=name, due_at=now)
    return Flight(job, cast("Target", None), now, claimed=0.0, valid_until=60.0, slot_until=60.0, began=0.0)


def come_back(flights: Flights, call: Flight) -> Flight | None:
    now = utcnow()
    return flights.back(call, Outcome(job=call.job, started_at=now, ended_at=now), 0.001)


def test_a_call_that_has_come_back_holds_no_slot_beside_the_one_it_was_passed_to() -> None:
    flights = Flights(threading.Condition(), call_s=30.0)
    ahead = [flight(f"ahead {n}") for n in range(3)]
    on = flights.begin([flight(f"on {n}") for n in range(SLOTS)], ahead, 0.0)
    assert flights.on_slots() == {"erp": SLOTS}

    for call in on:
        assert come_back(flights, call) in ahead

    assert flights.on_slots() == {"erp": SLOTS}
    assert flights.may_wait("erp", flights.on_slots()["erp"]) == SLOTS * ROUNDS - 1


def test_a_slot_that_came_free_while_nothing_was_ahead_is_held_until_a_turn_has_settled_its_call() -> None:
    flights = Flights(threading.Condition(), call_s=30.0)
    on = flights.begin([flight(f"on {n}") for n in range(SLOTS)], [], 0.0)

    assert [come_back(flights, call) for call in on] == [None] * SLOTS

    assert flights.on_slots() == {"erp": SLOTS}
    flights.settled(flights.gathered())
    assert flights.on_slots() == {}


def test_a_connection_that_makes_way_passes_no_slot_on_until_it_goes_on_or_its_time_is_over() -> None:
    flights = Flights(threading.Condition(), call_s=30.0)
    held, timed = (flights.begin([flight(f"on {n}")], [flight(f"ahead {n}")], 0.0)[0] for n in range(2))
    flights.make_way("erp", until=1.0)

    assert come_back(flights, held) is None
    assert len(flights.gathered().unmade) == 2
    assert flights.begin([], [flight("claimed meanwhile")], 0.5) == []
    assert len(flights.gathered().unmade) == 1

    assert not flights.makes_way("erp", 1.0)
    flights.go_on("erp")
    following = flight("following")
    flights.begin([], [following], 0.6)
    assert come_back(flights, timed) is following
