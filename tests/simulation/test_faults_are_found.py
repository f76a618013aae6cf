"""A simulation that finds nothing proves nothing: each fault that is put into the engine's rules breaks a schedule.

Each schedule is a few steps, so that it is known to come by the fault; without it, the same steps break nothing. With
it they break the law that is named beside it, or what the oracle says of the targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import inbox
from services.integrations.domain import failures
from services.integrations.domain.breaker import Breaker
from services.integrations.domain.deliveries import CLAIMABLE, Wait
from services.integrations.domain.failures import Verdict
from services.integrations.engine.flights import Flights
from services.integrations.models import Delivery, Record
from services.integrations.operations import (
    bulk,
    claims,
    intake,
    leases,
    obstacles,
    records,
    settlements,
    slots,
    sweeps,
)
from services.integrations.queries import due, lanes
from services.integrations.queries.statements import Asked
from services.integrations.queries.tables import DELIVERY
from tests.simulation.hub import Hub
from tests.simulation.lab import ADAPTERS, Lab
from tests.simulation.laws import LAWS, LawBroken, Watch
from tests.simulation.oracle import settle_everything, text_of
from tests.simulation.target import Fate


class Steps:
    """A hub, and a look at the laws after each step."""

    def __init__(self, lab: Lab) -> None:
        self.hub = Hub(lab)
        assert lab.tables is not None
        self.watch = Watch(lab.tables)

    def look(self) -> None:
        self.watch.look(text_of(self.hub.clock.now()), self.hub.on_the_wire())

    def change(self, *ids: str) -> None:
        self.hub.accept(ids or ["c1"])
        self.look()

    def turn(self, process: int = 0, *, after_s: float = 0.0) -> None:
        self.hub.clock.advance(after_s)
        self.hub.turn(process)
        self.look()

    def sweep(self, process: int, *, after_s: float) -> None:
        self.hub.clock.advance(after_s)
        self.hub.sweep(process)
        self.look()

    def call(self, process: int = 0) -> None:
        """Make every call that waits."""
        calls = self.hub.processes[process].calls
        while calls.waiting:
            job = calls.begin(0)
            opened = job is None or self.watch.is_open(job.delivery_id, job.fence)
            self.watch.require([] if opened else ["5: no attempt is open"])

    def answer(self, fate: Fate, process: int = 0) -> None:
        """Let all that is on the wire come to this, and take it in."""
        calls = self.hub.processes[process].calls
        while calls.hanging:
            calls.go_on(0, fate)
        self.turn(process)


def the_fence_is_not_checked(session: Session, table: sa.Table, rows: bulk.Rows, *, match: tuple[str, ...],
                             where: str = "") -> set[str]:
    free = [{name: value for name, value in row.items() if name not in ("fence", "was_state")} for row in rows]
    return bulk.update_each(session, table, free, match=("id",))


def the_last_told_version_is_kept(session: Session, keyring: Any, entity: str, id: str, *told: Any,
                                  put: Callable[..., Any] = records.put, **how: Any) -> Any:
    session.execute(sa.delete(Record).where(Record.entity == entity, Record.id == id))
    return put(session, keyring, entity, id, *told, **how)


def a_doubt_is_sent_again(failure: str, *told: Any, decide: Callable[..., Verdict] = failures.decide,
                          **how: Any) -> Verdict:
    return Verdict("retry_wait", 0.0) if failure == failures.AMBIGUOUS else decide(failure, *told, **how)


def a_pause_costs_an_attempt(failure: str, *told: Any, decide: Callable[..., Verdict] = failures.decide,
                             **how: Any) -> Verdict:
    verdict = decide(failure, *told, **how)
    return Verdict("retry_wait", verdict.wait_s) if failure == failures.RATE_LIMITED else verdict


def a_lost_look_is_not_swept(*asked: Any, expired: Callable[..., Asked] = due.expired_leases,
                             **how: Any) -> Asked:
    return expired(*asked, **how).where(sa.text("delivery.state = 'leased'"))


def a_lost_call_just_waits(row: Any, now: Any, wait_s: float, back: Callable[..., Any] = sweeps._taken_back) -> Any:
    uncalled = type("Row", (), {**row._asdict(), "called": False})
    return back(uncalled, now, wait_s)


def a_question_without_an_answer_ends_a_doubt(*doubt: Any) -> failures.Resolution:
    return "resend"


def the_settled_are_replaced(session: Session, wanted: Any,
                             found: Callable[..., Any] = lanes.waiting_upserts) -> dict[lanes.Lane, Any]:
    settled = session.execute(sa.select(*DELIVERY).where(DELIVERY.state == "delivered"))
    waiting: dict[lanes.Lane, Any] = found(session, wanted)
    return {(row.connection_id, row.entity, row.local_id): row for row in settled} | waiting


def what_is_in_flight_is_not_looked_at(connection_id: str, priority: int, now: Any, limit: int, owner: str, until: Any,
                                       *, mapped: bool) -> tuple[sa.Executable]:
    due = sa.select(DELIVERY.id).where(
        DELIVERY.connection_id == connection_id, DELIVERY.priority == priority,
        DELIVERY.state.in_(CLAIMABLE), DELIVERY.due_at <= now).limit(limit)
    table = Delivery.__table__
    assert isinstance(table, sa.Table)
    return (sa.update(table).where(table.c.id.in_(due)).values(
        state="leased", lease_owner=owner, lease_until=until, fence=table.c.fence + 1).returning(*table.c),)


def the_index_is_absent(lab: Lab, restart: Callable[[Lab], None] = Lab.restart) -> None:
    restart(lab)
    assert lab.tables is not None
    lab.tables.execute("DROP INDEX uq_delivery_lane_in_flight")


@contextmanager
def two_of_a_lane_are_leased() -> Iterator[None]:
    with (patch.object(Lab, "restart", the_index_is_absent),
          patch.object(claims, "_leasing", what_is_in_flight_is_not_looked_at)):
        yield


@contextmanager
def an_older_version_is_sent_and_counts() -> Iterator[None]:
    """Take away all that keeps an acknowledged version from falling: our copy, the look before a call, the binding."""
    table = settlements._BINDING
    with (patch.object(records, "put", the_last_told_version_is_kept),
          patch.object(obstacles, "is_stale", lambda *versions: False),
          patch.object(settlements, "_BINDING_NAMED", bulk.Upsert(table, changing={
              name: bulk.excluded(table.c[name]) for name in ("external_id", "state", "acked_version")}))):
        yield


def a_lease_has_no_end(*asked: Any, leasing: Callable[..., Any] = claims._leasing, **how: Any) -> Any:
    *others, _until = asked
    return leasing(*others, None, **how)


# --- schedules ------------------------------------------------------------------------------------------------------


def a_process_answers_after_its_lease(steps: Steps) -> None:
    steps.change()
    steps.turn(0)
    steps.call(0)
    steps.sweep(1, after_s=61)
    steps.turn(1, after_s=31)
    steps.call(1)
    steps.answer("done", 1)
    steps.call(1)
    steps.answer("lost", 0)


def versions_come_in_the_wrong_order(steps: Steps) -> None:
    for _ in range(2):
        steps.hub.change("customers.customer.updated", "c1")
    steps.hub.carry()
    steps.hub.hear(1)
    steps.hub.hear(0)


def an_older_version_comes_after_the_newer_was_delivered(steps: Steps) -> None:
    for _ in range(2):
        steps.hub.change("customers.customer.updated", "c1")
    steps.hub.carry()
    for n in (1, 0):
        steps.hub.hear(n)
        steps.turn()
        steps.call()
        steps.answer("done")


def an_answer_is(fate: Fate) -> Callable[[Steps], None]:
    def schedule(steps: Steps) -> None:
        steps.change()
        steps.turn()
        steps.call()
        steps.answer(fate)

    return schedule


def a_record_changes_after_a_failure(steps: Steps) -> None:
    an_answer_is("refused")(steps)
    steps.change()


def a_record_changes_after_an_answer_was_lost(steps: Steps) -> None:
    an_answer_is("lost")(steps)
    an_answer_is("done")(steps)


def a_look_is_not_answered(steps: Steps) -> None:
    an_answer_is("lost")(steps)
    steps.turn(after_s=7)
    steps.call()
    steps.answer("refused")


def a_process_ends_while_it_looks(steps: Steps) -> None:
    an_answer_is("lost")(steps)
    steps.turn(after_s=7)
    steps.hub.kill(0)


def a_process_ends_during_a_call(steps: Steps) -> None:
    steps.change()
    steps.turn(0)
    steps.call(0)
    steps.hub.kill(0)
    steps.sweep(1, after_s=61)


def an_event_comes_twice(steps: Steps) -> None:
    steps.hub.change("customers.customer.updated", "c1")
    steps.hub.carry()
    steps.hub.hear(0, again=True)
    steps.hub.hear(0)
    steps.look()


def a_paused_connection_has_work(steps: Steps) -> None:
    for name in ADAPTERS:
        steps.hub.pause(name)
    steps.change()
    steps.turn()


def a_record_changes_after_it_was_delivered(steps: Steps) -> None:
    an_answer_is("done")(steps)
    steps.change()


def a_record_changes_during_a_call(steps: Steps) -> None:
    steps.change()
    steps.turn()
    steps.call()
    steps.change()
    steps.turn()


def targets_are_down(steps: Steps) -> None:
    for n in range(6):
        steps.change(f"c{n}")
        steps.turn(after_s=3)
        steps.call()
        steps.answer("refused")


def targets_are_down_and_come_back(steps: Steps) -> None:
    targets_are_down(steps)
    steps.turn(after_s=31)
    steps.call()
    steps.turn()
    steps.turn()


def slots_are_passed_on(steps: Steps) -> None:
    """Work comes back to one process again and again, each time with more waiting than may be called at once."""
    steps.change("c1")
    steps.turn()
    steps.call()
    steps.answer("done")
    steps.change(*(f"r{n}" for n in range(6)))
    steps.turn()
    steps.call()
    for _ in ADAPTERS:
        steps.hub.processes[0].calls.go_on(0, "done")
        steps.look()
    steps.turn(0)
    steps.turn(1, after_s=1)
    steps.call(1)
    steps.look()


def two_processes_have_more_than_may_be_called(steps: Steps) -> None:
    steps.change(*(f"r{n}" for n in range(6)))
    for process in (0, 1):
        steps.turn(process, after_s=1)


FAULTS: Mapping[str, tuple[Callable[[], AbstractContextManager[Any]], Callable[[Steps], None], str]] = {
    "the fence is not checked": (
        lambda: patch.object(leases, "update_each", the_fence_is_not_checked), a_process_answers_after_its_lease,
        "only_the_holder_writes"),
    "versions are not compared": (
        lambda: patch.object(records, "put", the_last_told_version_is_kept), versions_come_in_the_wrong_order,
        r"c1 should stand there as \[2\], and does as \[1\]"),
    "what is in doubt is sent again at once": (
        lambda: patch.object(failures, "decide", a_doubt_is_sent_again), an_answer_is("lost"),
        "a_call_leaves_a_doubt"),
    "a question that is not answered ends a doubt": (
        lambda: patch.object(failures, "resolve", a_question_without_an_answer_ends_a_doubt), a_look_is_not_answered,
        "a_doubt_ends_by_a_look"),
    "what may be at a blind target is made again": (
        lambda: patch.object(obstacles, "_may_be_doubled", lambda *what: False),
        a_record_changes_after_an_answer_was_lost, "c1 was made twice"),
    "a pause of the target uses an attempt": (
        lambda: patch.object(failures, "decide", a_pause_costs_an_attempt), an_answer_is("busy"),
        "waiting_costs_nothing"),
    "a newer version inherits nothing": (
        lambda: patch.object(intake, "succeed", lambda op, waiting, now: Wait("pending", now)),
        a_record_changes_after_a_failure, "one_waits_and_inherits"),
    "the sweeper misses a state": (
        lambda: patch.object(due, "expired_leases", a_lost_look_is_not_swept), a_process_ends_while_it_looks,
        "stays in_doubt for ever"),
    "a call that was lost simply waits again": (
        lambda: patch.object(sweeps, "_taken_back", a_lost_call_just_waits), a_process_ends_during_a_call,
        "a_call_leaves_a_doubt"),
    "the ledger miscounts": (
        lambda: patch.object(intake, "_counting", lambda ids, many, count=intake._counting: count(ids, many + 1)),
        an_event_comes_twice, "the_ledger_adds_up"),
    "the inbox forgets": (
        lambda: patch.object(inbox, "first_time", lambda *event: True), an_event_comes_twice,
        "an_event_has_one_effect"),
    "bytes leave before the attempt is written": (
        lambda: patch.object(claims, "open_attempts", lambda *jobs: None), an_answer_is("done"),
        "5: no attempt is open"),
    "a paused connection is called": (
        lambda: patch.object(slots, "room", lambda session, found, now: [(one, 4) for one in found]),
        a_paused_connection_has_work, "waiting_costs_nothing"),
    "a slot is passed on, and nobody is told": (
        lambda: patch.object(slots, "place", lambda session, on, ahead, place=slots.place: place(
            session, on=(), ahead=ahead)), slots_are_passed_on, "calls on the wire"),
    "what is ahead is called at once": (
        lambda: patch.object(Flights, "begin", lambda self, on, ahead, now, begin=Flights.begin: begin(
            self, [*on, *ahead], [], now)), slots_are_passed_on, "calls on the wire"),
    "the breaker never opens": (
        lambda: patch.object(Breaker, "_is_down", lambda self, now: False), targets_are_down,
        "what_is_down_is_left_alone"),
    "a half open connection has full room": (
        lambda: patch.object(Breaker, "room", lambda self, most: most if self.open_until is None else 0),
        targets_are_down_and_come_back, "half_open_lets_few_through"),
    "a settled row is written again": (
        lambda: patch.object(lanes, "waiting_upserts", the_settled_are_replaced),
        a_record_changes_after_it_was_delivered, "the_settled_never_change"),
    "two of a lane are leased, and no index forbids it": (
        two_of_a_lane_are_leased, a_record_changes_during_a_call, "one_in_flight"),
    "an older version is sent, and counts": (
        an_older_version_is_sent_and_counts, an_older_version_comes_after_the_newer_was_delivered,
        "acknowledged_rises"),
    "a lease has no end": (
        lambda: patch.object(claims, "_leasing", a_lease_has_no_end), an_answer_is("done"), "nothing_unknown"),
    "what another process calls is not counted": (
        lambda: patch.object(slots, "room", lambda session, found, now: [(one, one.max_in_flight) for one in found]),
        two_processes_have_more_than_may_be_called, "slots_are_not_overbooked"),
}


def run(schedules: Lab, schedule: Callable[[Steps], None]) -> None:
    """Run a schedule, and what must hold at its end."""
    schedule(steps := Steps(schedules))
    settle_everything(steps.hub, steps.watch)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_rules_breaks_a_schedule_that_holds_without_it(schedules: Lab, fault: str) -> None:
    broken_by, schedule, breach = FAULTS[fault]
    run(schedules, schedule)

    with broken_by(), pytest.raises(LawBroken, match=breach):
        run(schedules, schedule)


def test_every_law_is_broken_by_a_fault() -> None:
    assert {law.__name__ for law in LAWS} <= {breach for _fault, _schedule, breach in FAULTS.values()}
