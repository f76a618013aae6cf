"""Rows 5, 10 to 12 and 17 to 19 of the fault matrix from end to end: broker, messages and processes on the way.

Customers are created and changed by requests to their service, and two processes bring them. Whoever gets no answer
asks again under the same key. The oracle is outside: what was acknowledged, against what the target holds.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace

import eventlet
import pytest
from eventlet.event import Event

from chassis.database import Database, new_id
from contracts import customers
from contracts import integrations as contract
from hub import parked
from hub.installation import Installation
from tests.faults.site import CUSTOMERS, VERSIONS, Carried, Insistent, Site, change, written
from tests.service.integrations.test_crashes import pause_between_transactions
from tests.support.processes import eventually
from tests.support.rooms import Rooms

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]
HEALED_WITHIN_S = 60
SEED = 1718
FOR_EVER = 10**6
SETTLED = "SELECT id, settled_at FROM delivery WHERE settled_at IS NOT NULL"
UPDATED = customers.CUSTOMER_UPDATED


def hurt(site: Site, well: Carried, fault: Callable[[Insistent], None]) -> dict[str, int]:
    """Write customers until a fault, made once some of them have arrived, is over; return what was acknowledged."""
    caller, wanted, over = Insistent(site.rooms), {}, Event()

    def write() -> None:
        while not over.ready():
            wanted.update(written(caller))

    writing = eventlet.spawn(write)
    eventually(lambda: len(well.target.of("customer")) >= 5)
    fault(caller)
    over.send()
    writing.wait()
    return wanted


def test_every_message_five_times_and_shuffled_leaves_each_record_once_and_in_its_newest_version(
    site: Site, rooms: Rooms, well: Carried
) -> None:
    site.stop_workers()
    wanted = written(rooms)
    told = [event for event in site.events() if event.subject in wanted]
    assert len(told) == CUSTOMERS * VERSIONS
    for queue in site.queues:
        site.broker.purge(site.vhost.name, queue)
    shuffled = told * 5
    random.Random(SEED).shuffle(shuffled)
    for event in shuffled:
        site.publish(event)

    site.start("integrations", "integrations")

    well.ends_with(wanted, HEALED_WITHIN_S)
    eventually(lambda: not any(site.broker.depth(site.vhost.name, queue) for queue in site.queues))
    site.stop_workers()
    site.start("integrations", "integrations")
    well.ends_with(wanted, 0)
    assert well.ledger()["accepted"] == len(told)


@pytest.mark.parametrize("full", ["memory", "disk"])
def test_a_broker_that_is_full_for_a_while_costs_repeats_and_no_record(site: Site, well: Carried, full: str) -> None:
    def fill(caller: Insistent) -> None:
        with site.broker.alarm(full):
            eventually(lambda: caller.refusals)

    well.ends_with(hurt(site, well, fill), HEALED_WITHIN_S, besides=site.customers())


def test_queues_deleted_amid_it_are_made_again_and_what_they_held_is_brought(site: Site, well: Carried) -> None:
    wanted = hurt(site, well, lambda _: site.delete_queues())
    well.ends_with(wanted, HEALED_WITHIN_S, besides=site.customers())


def test_bindings_deleted_amid_it_are_made_again_and_what_nobody_took_is_brought(site: Site, well: Carried) -> None:
    def unbind(_caller: Insistent) -> None:
        for queue in site.queues:
            site.broker.unbind(site.vhost.name, UPDATED.exchange, queue)
        site.broker.close_connections(site.vhost.name)

    wanted = hurt(site, well, unbind)
    well.ends_with(wanted, HEALED_WITHIN_S, besides=site.customers())


def test_a_broker_that_lost_everything_is_told_again_and_every_record_arrives(
    site: Site, rooms: Rooms, well: Carried
) -> None:
    site.stop_workers()
    wanted = written(rooms)
    assert {event.subject for event in site.events()} >= wanted.keys()

    site.broker.wipe()
    site.broker.create_vhost(site.vhost.name)
    site.start("integrations", "integrations")

    well.ends_with(wanted, HEALED_WITHIN_S, besides=site.customers())


def test_what_nobody_can_read_is_parked_and_all_others_arrive(site: Site, rooms: Rooms, well: Carried) -> None:
    wanted = written(rooms)
    of_it = (event for event in site.events() if event.subject in wanted)
    good = next(event for event in of_it if event.routing_key == UPDATED.routing_key)
    later = json.loads(good.body) | {"id": new_id(), "schemaversion": 99, "data": {"name": {"given": "an object now"}}}
    poison = [replace(good, body=body) for body in ("not JSON", json.dumps(later))]
    for event in poison:
        site.publish(event)

    since = change(rooms, good.subject, VERSIONS, "c")

    eventually(lambda: any(row.source_version == since for row in well.target.of("customer")), 10)
    well.ends_with(wanted | {good.subject: since}, HEALED_WITHIN_S, besides=site.customers())
    [queue] = [queue for queue in site.queues if queue.endswith(f".{UPDATED.type}.v1")]
    here = Installation({"HUB_HOME": str(rooms.home), "AMQP_URI": site.vhost.amqp_uri})
    eventually(lambda: parked.look(here, [queue])[0].parked == len(poison))


def test_a_worker_stopped_past_its_lease_puts_nothing_back_when_it_wakes(
    site: Site, rooms: Rooms, well: Carried
) -> None:
    well.target.unique = True  # a request that is stopped half sent can be stopped by the target's key alone
    short = {"INTEGRATIONS_LEASE_S": "6", "INTEGRATIONS_SWEEP_EVERY_S": "0.5"}
    site.stop_workers()
    site.start("integrations", **short)
    rooms.call(contract.PAUSE_CONNECTION, {"id": well.id, "reason": "until all of it waits"})
    wanted = written(rooms)
    eventually(lambda: well.waiting() == set(wanted.items()))
    slow = well.target.fail(method="POST", times=FOR_EVER, delay_s=1.0)
    rooms.call(contract.RESUME_CONNECTION, {"id": well.id})
    eventually(lambda: len(well.target.calls("POST")) >= 4)
    [sleeper] = site.workers
    pause_between_transactions(sleeper, Database(f"sqlite:///{site.file('integrations')}"))
    assert site.read("integrations", "SELECT id FROM delivery WHERE lease_until IS NOT NULL")
    slow.times = 0

    site.start("integrations", **short)
    eventually(lambda: len(well.target.of("customer")) >= CUSTOMERS, HEALED_WITHIN_S)
    newest = {id: change(rooms, id, VERSIONS, "c") for id in wanted}
    eventually(lambda: any(row.source_version > VERSIONS for row in well.target.of("customer")), HEALED_WITHIN_S)
    settled = site.read("integrations", SETTLED)
    sleeper.resume()

    well.ends_with(newest, HEALED_WITHIN_S, besides=site.customers())
    assert set(settled) <= set(site.read("integrations", SETTLED))
