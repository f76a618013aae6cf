"""Schedules: whatever may happen to a hub, in any order, and what must hold after each of it and at the end."""

from __future__ import annotations

import itertools
from typing import ClassVar, get_args

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts.deliveries import REPLAY_MODES
from services.integrations.operations.jobs import Job
from tests.simulation.broker import Publish
from tests.simulation.hub import Hub
from tests.simulation.lab import ADAPTERS, Lab
from tests.simulation.laws import Watch
from tests.simulation.oracle import settle_everything, text_of
from tests.simulation.target import Fate

CUSTOMERS, ORDERS = ("c1", "c2"), {"o1": "c1", "o2": "c2"}
WAITS_S = (0.2, 1.0, 5.0, 6.0, 21.0, 31.0, 36.0, 61.0, 130.0, 700.0, 8000.0)
"""Steps of time: around each limit of the engine, and beyond it."""

two = st.integers(0, 1)
any_of_many = st.integers(0, 7)
fates = st.sampled_from(("done", "done", "done", *get_args(Fate)))
several_fates = st.lists(fates, min_size=1, max_size=4)
doom = st.sampled_from((None, None, None, 0, 1, 2, 3))
"""After how many commits, and on which side of one, whoever is at work ends."""
publishing = st.lists(st.sampled_from(("confirmed", "confirmed", *get_args(Publish))), max_size=3)


class Schedule(RuleBasedStateMachine):
    """One schedule; Hypothesis draws its steps."""

    lab: ClassVar[Lab]

    def __init__(self) -> None:
        super().__init__()
        self.hub: Hub
        self.watch: Watch

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.hub = Hub(self.lab, seed)
        assert self.lab.tables is not None
        self.watch = Watch(self.lab.tables)

    def teardown(self) -> None:
        if hasattr(self, "hub") and not self.watch.broken:
            settle_everything(self.hub, self.watch)

    def _look(self) -> None:
        self.watch.look(text_of(self.hub.clock.now()), self.hub.on_the_wire())

    # --- changes, and their way to the hub --------------------------------------------------------------------------

    @rule(id=st.sampled_from(CUSTOMERS), kind=st.sampled_from(("updated", "updated", "updated", "snapshot")), doom=doom)
    def a_customer_changes(self, id: str, kind: str, doom: int | None) -> None:
        if kind == "updated" or ("customer", id) in self.hub.truth:
            self.hub.change(f"customers.customer.{kind}", id, doom=doom)

    @rule(id=st.sampled_from(tuple(ORDERS)), kind=st.sampled_from(("confirmed", "confirmed", "cancelled")), doom=doom)
    def an_order_changes(self, id: str, kind: str, doom: int | None) -> None:
        known = ("order", id) in self.hub.truth
        if ("customer", ORDERS[id]) not in self.hub.truth:
            self.hub.change("customers.customer.updated", ORDERS[id])
        if id not in self.hub.cancelled and (known or kind == "confirmed"):
            self.hub.change(f"sales.order.{kind}", id, customer_id=ORDERS[id], doom=doom)

    @rule()
    def a_fact_is_accepted(self) -> None:
        self.hub.append()

    @rule(fates=publishing, doom=doom)
    def events_travel(self, fates: list[Publish], doom: int | None) -> None:
        self.hub.carry(fates, doom)

    @precondition(lambda self: self.hub.broker.queue)
    @rule(n=any_of_many, process=two, again=st.booleans(), doom=doom)
    def an_event_is_heard(self, n: int, process: int, again: bool, doom: int | None) -> None:
        self.hub.hear(n, process, again=again, doom=doom)

    @rule(n=any_of_many, process=two)
    def all_events_are_heard(self, n: int, process: int) -> None:
        self.hub.carry()
        while self.hub.broker.queue:
            self.hub.hear(n, process)

    @rule()
    def the_broker_loses_its_data(self) -> None:
        self.hub.wipe()

    # --- work -------------------------------------------------------------------------------------------------------

    @rule(process=two, doom=doom)
    def a_process_takes_a_turn(self, process: int, doom: int | None) -> None:
        self.hub.turn(process, doom)

    @rule(process=two, commits=st.integers(0, 3))
    def the_word_of_a_commit_is_lost(self, process: int, commits: int) -> None:
        self.hub.turn_in_doubt(process, commits)

    @rule(process=two, fates=several_fates)
    def a_process_works(self, process: int, fates: list[Fate]) -> None:
        """Claim, call, settle: without an interruption, but with answers of every kind."""
        self.hub.turn(process)
        self._look()
        calls = self.hub.processes[process].calls
        while calls.waiting:
            self._begin(process, 0)
        for n, fate in zip(range(len(calls.hanging) + len(fates)), itertools.cycle(fates), strict=False):
            if not calls.hanging:
                break
            calls.go_on(n, fate)
        self.hub.turn(process)
        self._look()

    @precondition(lambda self: any(process.calls.waiting for process in self.hub.processes))
    @rule(process=two, n=any_of_many)
    def a_call_begins(self, process: int, n: int) -> None:
        if self.hub.processes[process].calls.waiting:
            self._begin(process, n)

    def _begin(self, process: int, n: int) -> None:
        job: Job | None = self.hub.processes[process].calls.begin(n)
        if job is not None and not self.watch.is_open(job.delivery_id, job.fence):
            self.watch.require([f"5: bytes have left for {job.delivery_id}, and no attempt {job.fence} is open"])

    @precondition(lambda self: any(process.calls.hanging for process in self.hub.processes))
    @rule(process=two, n=any_of_many, fate=fates)
    def a_call_goes_on(self, process: int, n: int, fate: Fate) -> None:
        calls = self.hub.processes[process].calls
        if calls.hanging:
            calls.go_on(n, fate)

    @rule(process=two, many=st.integers(3, 6), fates=several_fates)
    def a_crowd_meets_quick_targets(self, process: int, many: int, fates: list[Fate]) -> None:
        """More changes than may be called at once: some are claimed ahead, and passed the slots of the first."""
        dispatcher, calls = self.hub.processes[process].dispatcher, self.hub.processes[process].calls
        dispatcher._flights._took.update(dict.fromkeys(self.lab.connections.values(), 0.0))
        self.hub.accept(f"m{n}" for n in range(many))
        self._look()
        dispatcher.wake(self.lab.connections.values())
        self.hub.turn(process)
        while calls.waiting:
            self._begin(process, 0)
        for n, fate in enumerate(fates):
            if calls.hanging:
                calls.go_on(n, fate)
                self._look()

    @rule(process=two, doom=doom)
    def a_process_sweeps(self, process: int, doom: int | None) -> None:
        self.hub.sweep(process, doom)

    @rule(process=two, noticed=st.booleans())
    def a_process_ends(self, process: int, noticed: bool) -> None:
        self.hub.kill(process, noticed=noticed)

    @rule(days=st.sampled_from((0, 1)))
    def what_is_old_is_pruned(self, days: int) -> None:
        self.hub.prune(days)

    # --- time, targets, people --------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from(WAITS_S))
    def time_passes(self, seconds: float) -> None:
        self.hub.clock.advance(seconds)

    @rule(name=st.sampled_from(tuple(ADAPTERS)))
    def a_target_goes_down_or_comes_back(self, name: str) -> None:
        self.hub.targets[name].up = not self.hub.targets[name].up

    @precondition(lambda self: any(target.late for target in self.hub.targets.values()))
    @rule(name=st.sampled_from(tuple(ADAPTERS)))
    def a_target_does_late_what_was_asked(self, name: str) -> None:
        target = self.hub.targets[name]
        while target.late:
            target.serve(target.late.pop())

    @rule(name=st.sampled_from(tuple(ADAPTERS)), pause=st.booleans())
    def a_person_pauses_or_resumes(self, name: str, pause: bool) -> None:
        (self.hub.pause if pause else self.hub.resume)(name)

    @rule(name=st.sampled_from(tuple(ADAPTERS)), process=two, refused=st.booleans())
    def a_process_makes_way_for_a_pause(self, name: str, process: int, refused: bool) -> None:
        self.hub.hold(name, process, refused=refused)

    @rule(mode=st.sampled_from(REPLAY_MODES))
    def a_person_sends_what_is_dead_again(self, mode: str) -> None:
        self.hub.retry_dead(mode)

    @rule(name=st.sampled_from(tuple(ADAPTERS)), id=st.sampled_from(CUSTOMERS))
    def people_there_delete_a_record(self, name: str, id: str) -> None:
        self.hub.vanish(name, "customer", id)

    @invariant()
    def no_law_is_broken(self) -> None:
        if hasattr(self, "hub"):
            self._look()
            self.watch.require(f"{name}: {breach}" for name, target in self.hub.targets.items()
                               for breach in target.breaches)
