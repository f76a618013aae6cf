"""Rows 20 to 26 and 30 of the fault matrix from end to end: real changes, a real broker, two processes that bring them.

Customers are created and changed by requests to their service. One target turns bad meanwhile, in each test otherwise;
another takes the same changes and has to have them all before the first is well again. The oracle is outside: what was
acknowledged, against what the targets hold.
"""

from __future__ import annotations

import itertools

import pytest

from chassis.database import new_id
from contracts import integrations as contract
from hub_adapter.conformance.server import Answer, Request
from tests.faults.site import CUSTOMERS, VERSIONS, Carried, Carry, Site, Target, change, written
from tests.service.integrations.test_bad_answers import cut_off, drip, no_json, ten_gigabytes
from tests.support.chaos_proxy import ChaosProxy
from tests.support.processes import eventually
from tests.support.rooms import Rooms

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]
ASKED_S = 4
REFUSAL = "name: 不可接受"
FOR_EVER = 10**6


class Choosy(Target):
    """Takes no customer whose name says so."""

    def answer(self, request: Request) -> Answer:
        return Answer.of({"message": REFUSAL}, 422) if b"unwelcome" in request.body else super().answer(request)


def test_a_target_that_asks_for_a_pause_gets_it_and_then_every_record(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Target())
    bad.target.fail(method="POST", skip=5, status=429, headers={"Retry-After": str(ASKED_S)})

    wanted = written(rooms)

    well.ends_with(wanted, 60)
    assert well.shown["throttled_until"] is None
    bad.ends_with(wanted, 60)
    calls = sorted(seen.at for seen in bad.target.seen)
    assert max(later - one for one, later in itertools.pairwise(calls)) > ASKED_S / 2, "but for what was on the wire"


def test_a_target_that_fails_for_a_while_is_left_alone_and_takes_every_record_once_it_is_back(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Target())
    down = bad.target.fail(skip=20, times=FOR_EVER, status=500)

    wanted = written(rooms)

    well.ends_with(wanted, 60)
    eventually(lambda: bad.shown["health"] == "open")
    down.times = 0
    bad.ends_with(wanted, 90)
    assert bad.deliveries("dead") == []


def test_answers_lost_before_and_after_the_target_has_done_it_leave_each_record_once(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Target())
    for method, drop in itertools.product(("POST", "PUT"), ("before", "after")):
        bad.target.fail(method=method, skip=8, times=3, drop=drop)

    wanted = written(rooms)

    well.ends_with(wanted, 60)
    bad.ends_with(wanted, 90)
    assert bad.deliveries("dead") == []


def test_records_that_are_refused_are_dead_with_their_reason_and_all_others_arrive(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Choosy())

    wanted = written(rooms, lambda number: f"c-{number}" if number % 6 else f"unwelcome-{number}")

    well.ends_with(wanted, 60)
    unwelcome = {row.key for row in well.target.of("customer") if row.body["name"].startswith("unwelcome")}
    bad.ends_with({id: version for id, version in wanted.items() if id not in unwelcome}, 60)
    dead = bad.deliveries("dead")
    assert {one["local_id"] for one in dead} == unwelcome
    assert {one["error_class"] for one in dead} == {"invalid"}
    assert all(REFUSAL in one["last_error"] for one in dead)


def test_answers_that_are_none_are_given_up_and_leave_each_record_once(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Target())
    for rubbish in (cut_off, drip, no_json, ten_gigabytes):
        bad.target.fail(method="POST", skip=8, instead=rubbish)

    wanted = written(rooms)

    well.ends_with(wanted, 60)
    bad.ends_with(wanted, 90)
    assert bad.deliveries("dead") == []


def test_a_token_that_ends_under_two_processes_is_traded_once_and_every_record_arrives(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    bad = carry(Target(), adapter="fake_trading")
    bad.target.expire()

    wanted = written(rooms)

    well.ends_with(wanted, 60)
    bad.ends_with(wanted, 60)
    assert bad.target.traded == 1
    assert bad.deliveries("dead") == []


def test_a_line_that_goes_dead_and_a_slow_one_lose_and_double_nothing(
    rooms: Rooms, carry: Carry, well: Carried
) -> None:
    target = Target()
    host, port = target.url.removeprefix("http://").split(":")
    with ChaosProxy((host, int(port)), delay_s=0.02, bytes_per_s=20_000) as link:
        bad = carry(target, base_url=f"http://127.0.0.1:{link.port}")
        wanted = written(rooms)
        bad.ends_with(wanted, 60)
        link.mode = "blackhole"
        wanted |= written(rooms)
        well.ends_with(wanted, 60)
        eventually(lambda: bad.deliveries("in_doubt") or bad.deliveries("retry_wait"))
        link.mode = "pass"
        bad.ends_with(wanted, 120)
    assert bad.deliveries("dead") == []


def test_a_restored_database_lets_nothing_older_out_and_a_reconciliation_mends_what_is_left(
    site: Site, rooms: Rooms, carry: Carry
) -> None:
    ahead = carry(Target(), adapter="fake_listed")
    wanted = written(rooms)
    ahead.ends_with(wanted, 60)
    rooms.call(contract.PAUSE_CONNECTION, {"id": ahead.id, "reason": "a backup"})
    (as_then, *changed), waiting = list(wanted)[:6], written(rooms)
    eventually(lambda: ahead.ledger()["open"] == CUSTOMERS)
    yesterday = site.back_up()
    rooms.call(contract.RESUME_CONNECTION, {"id": ahead.id})
    since = {id: change(rooms, id, VERSIONS, "c") for id in [*changed, *waiting]} | written(rooms)
    wanted |= since
    ahead.ends_with(wanted, 60)
    [gone] = [row.id for row in ahead.target.of("customer") if row.key == as_then]
    ahead.target.remove(gone)
    stood = {row.id: row.source_version for row in ahead.target.of("customer")}

    site.restore(yesterday)
    eventually(lambda: since.items() <= ahead.waiting(), 60)
    rooms.call(contract.RESUME_CONNECTION, {"id": ahead.id})
    eventually(lambda: ahead.ledger()["open"] == 0, 60)
    assert {row.id: row.source_version for row in ahead.target.of("customer")} == stood
    asked = {"connection_id": ahead.id, "kind": "reconcile", "entity": "customer"}
    run = rooms.call(contract.START_RUN, asked, key=new_id())["id"]
    eventually(lambda: rooms.call(contract.GET_RUN, {"id": run})["state"] == "awaiting_approval")
    told = rooms.call(contract.GET_RUN, {"id": run})
    rooms.call(contract.APPROVE_RUN, {"id": run, "count": told["to_confirm"]}, key=new_id())

    everything = site.customers()
    assert wanted.items() <= everything.items()
    ahead.ends_with(everything, 60)  # those of the tests before had never been sent there
    assert told["to_confirm"] == len(everything) - len(stood)
