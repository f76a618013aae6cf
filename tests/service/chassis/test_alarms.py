"""The broker full, its bindings gone, messages of a later release: bounded waits, a word to somebody, no loss."""

from __future__ import annotations

import json
import time

import pytest

from chassis.database import new_id
from contracts import errors
from hub import parked
from services.lab import contract
from tests.service.chassis.laboratory import HAPPENED, Lab, eventually, measured
from tests.service.chassis.test_broker_faults import HEALED_WITHIN_S, recovery
from tests.service.chassis.test_parked import DEAD, here, mended

__all__ = ["mended"]


@pytest.mark.faults
@pytest.mark.parametrize("full", ["memory", "disk"])
def test_while_the_brokers_memory_or_disk_is_full_every_answer_comes_in_time_and_nothing_is_lost(
    lab: Lab, full: str
) -> None:
    container = lab.start()
    ear = lab.listen()
    lab.add("before")
    eventually(lambda: not lab.unsent())
    with lab.broker.alarm(full):
        for n in range(3):
            began = time.monotonic()
            with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
                lab.add(f"meanwhile {n}", key=f"k{n}", timeout_s=2)
            assert time.monotonic() - began < 3.0
        with container.runtime.db.write() as session:
            from chassis import outbox
            from chassis.context import Subject

            outbox.record(session, contract.NOTE_ADDED, subject=new_id(), version=1, by=Subject.service("lab"),
                          data={"id": "x", "version": 1, "text": "committed meanwhile"})
        eventually(lambda: "unsent" in container.runtime.health.notes(), 20)
        assert len(lab.unsent()) == 1
    measured(f"R after a {full} alarm: {recovery(lambda: lab.add('after', key='after')):.1f} s")
    eventually(lambda: not lab.unsent(), HEALED_WITHIN_S)
    eventually(lambda: container.runtime.health.missing() == {}, HEALED_WITHIN_S)
    assert len(set(ear.ids())) == len(lab.notes()) + 1


def test_an_event_whose_only_binding_was_deleted_is_kept_and_sent_when_it_is_back(lab: Lab) -> None:
    container = lab.start()
    ear = lab.listen()
    lab.add("before")
    eventually(lambda: not lab.unsent())
    lab.broker.unbind(lab.vhost.name, contract.NOTE_ADDED.exchange, ear.queue)

    lab.add("missed")

    eventually(lambda: "unroutable" in container.runtime.health.notes())
    assert len(lab.unsent()) == 1
    ear = lab.listen()
    eventually(lambda: not lab.unsent(), HEALED_WITHIN_S)
    assert len(set(ear.ids())) == 2


def test_a_binding_that_was_deleted_is_made_again_when_its_listener_connects_again(lab: Lab) -> None:
    lab.start()
    lab.broker.unbind(lab.vhost.name, contract.THING_HAPPENED.exchange, HAPPENED)
    assert lab.publish("{}") is False

    eventually(lambda: len(lab.broker.list_connections(lab.vhost.name)) >= 3)
    lab.broker.close_connections(lab.vhost.name)

    eventually(lambda: any(one["destination"] == HAPPENED and one["source"] == contract.THING_HAPPENED.exchange
                           for one in lab.broker.list_bindings(lab.vhost.name)), HEALED_WITHIN_S)
    lab.say("after")
    eventually(lambda: lab.effects("after") == 1)


def later_release(lab: Lab, **data: object) -> None:
    """Publish an event of a schema version that nobody here knows."""
    wire = lab.say("a template").to_wire()
    eventually(lambda: lab.effects("a template") >= 1)
    wire |= {"id": new_id(), "subject": new_id(), "schemaversion": 99}
    wire["data"] = {**wire["data"], **data}
    lab.publish(json.dumps(wire), message_id=wire["id"])


def test_an_event_of_a_later_schema_is_heard_as_far_as_it_is_understood(lab: Lab) -> None:
    lab.start()
    later_release(lab, name="from the future", invented_later={"a": 1})
    eventually(lambda: lab.effects("from the future") == 1)
    assert lab.depth(DEAD) == 0


def test_an_event_of_a_later_schema_that_is_not_understood_is_parked_others_pass_and_it_goes_back(
    lab: Lab, mended: list[bool]
) -> None:
    mended.append(True)
    lab.start(EVENT_PAUSE_S_LAB="0.001", DELIVERY_LIMIT_LAB="2")
    later_release(lab, name={"given": "as an object now"})
    eventually(lambda: lab.depth(DEAD) == 1)

    began = time.monotonic()
    lab.say("another")
    eventually(lambda: lab.effects("another") == 1)
    assert time.monotonic() - began < 1.0

    assert parked.give_back(here(lab), HAPPENED) == 1
    eventually(lambda: lab.depth(DEAD) == 1)  # still not understood, and still not lost
