"""One record stays one: whatever is lost, said twice or cut off on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from hub_adapter.client import Exchange
from hub_adapter.conformance.checks.rigged import RiggedSuite
from hub_adapter.conformance.outcome import NotClaimed, NotShown, one_record, proves
from hub_adapter.conformance.rig import Killed, Rig
from hub_adapter.failure import ErrorClass, Invalid
from hub_adapter.port import Capability, Context

MEET_WITHIN_S = 30.0
MOST_STEPS = 60


class OnceChecks(RiggedSuite):
    @one_record
    def test_a_write_that_is_repeated_is_one_record(self, rig: Rig, entity: str) -> None:
        cmd = rig.fresh(entity)
        first = rig.write(entity, cmd)
        assert first.external_id, "a record that was written has an external id"
        for again in (cmd, replace(cmd, external_id=first.external_id)):
            second = rig.write(entity, again)
            assert second.external_id == first.external_id, "the second write of a record tells another id"
        assert rig.count(entity, cmd) == 1, f"{rig.count(entity, cmd)} records stand there for one"

    @one_record
    def test_an_answer_lost_after_the_system_acted_ends_in_one_record(self, rig: Rig, entity: str) -> None:
        def lost(step: int) -> bool:
            cmd, fault = rig.fresh(entity), rig.fail(skip=step, drop="after")
            failure = rig.failure(lambda: rig.write(entity, cmd))
            if fault.times:
                return False
            assert failure is not None, f"the answer to request {step + 1} was lost, and the write tells of success"
            changed = rig.exchanges[-1].changes
            meant = ErrorClass.AMBIGUOUS if changed else ErrorClass.TRANSIENT
            assert failure.error_class is meant, f"a lost answer to request {step + 1} is told as {failure.error_class}"
            rig.settled(entity, cmd)
            count = rig.count(entity, cmd)
            assert count == 1, f"after the answer to request {step + 1} was lost, {count} records stand there"
            return True

        _at_each_step(rig, lost)

    @one_record
    def test_a_worker_killed_at_any_step_leaves_one_record(self, rig: Rig, entity: str) -> None:
        def killed(step: int) -> bool:
            cmd = rig.fresh(entity)
            if not _dies(lambda seen: rig.write(entity, cmd, seen=seen), step):
                return False
            rig.settled(entity, cmd)
            count = rig.count(entity, cmd)
            assert count == 1, f"after the worker died behind request {step + 1}, {count} records stand there"
            return True

        _at_each_step(rig, killed)

    @proves(Capability.IDEMPOTENCY_KEY)
    @one_record
    def test_two_workers_at_once_make_one_record(self, rig: Rig, entity: str) -> None:
        reads = rig.changing(entity)
        cmd, meeting = rig.fresh(entity), threading.Barrier(2)
        trouble: list[BaseException] = []

        def worker() -> None:
            asked = 0

            def meet(exchange: Exchange) -> None:
                nonlocal asked
                asked += 1
                if asked == reads:  # behind the last read of each: both have looked, neither has found
                    meeting.wait(MEET_WITHIN_S)

            try:
                rig.write(entity, cmd, seen=meet)
            except Exception as error:
                trouble.append(error)

        workers = [threading.Thread(target=worker) for _ in range(2)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
        assert not meeting.broken, f"the two never met: {trouble}"
        rig.settled(entity, cmd)
        assert rig.count(entity, cmd) == 1, f"two workers made {rig.count(entity, cmd)} records of one"

    @proves(Capability.FIND_BY_LOCAL_KEY)
    @one_record
    def test_a_record_is_found_by_our_id(self, rig: Rig, entity: str) -> None:
        cmd = rig.fresh(entity)
        assert list(self.adapter.find(rig.open(), entity, {"id": cmd.local_id})) == [], "found before it was written"
        written = rig.write(entity, cmd)
        found = [remote.external_id for remote in self.adapter.find(rig.open(), entity, {"id": cmd.local_id})]
        assert found == [written.external_id], f"the look-up by our id tells {found}"
        for near in (cmd.local_id[:-1], f"{cmd.local_id}0"):
            assert not self.adapter.find(rig.open(), entity, {"id": near}), "the look-up takes a part for the whole"

    def test_a_record_is_found_by_its_natural_key(self, rig: Rig, entity: str) -> None:
        if (field := self.adapter.spec.natural_keys.get(entity)) is None:
            raise NotClaimed(f"natural_keys names none for {entity}")
        cmd = rig.fresh(entity)
        keys = {field: str(cmd.body[field])}
        assert list(self.adapter.find(rig.open(), entity, keys)) == [], "found before it was written"
        written = rig.write(entity, cmd)
        found = [remote.external_id for remote in self.adapter.find(rig.open(), entity, keys)]
        assert found == [written.external_id], f"the look-up by {field} tells {found}"

    def test_a_look_up_by_an_unknown_key_is_refused(self, rig: Rig, entity: str) -> None:
        rig.write(entity, rig.fresh(entity))
        for keys in ({"no such key": "x"}, {}):
            with pytest.raises(Invalid):
                self.adapter.find(rig.open(), entity, keys)

    @proves(Capability.NATIVE_UPSERT)
    def test_a_record_is_written_in_one_request_whether_it_is_there_or_not(self, rig: Rig, entity: str) -> None:
        cmd = rig.fresh(entity)
        for _ in range(2):
            before = len(rig.exchanges)
            rig.write(entity, cmd)
            assert len(rig.exchanges) - before == 1, "an upsert of the system's own takes one request"

    def test_a_bound_record_that_is_gone_is_told_as_gone(self, rig: Rig, entity: str) -> None:
        if rig.system.nowhere is None:
            raise NotShown("System.nowhere names no external id")
        cmd = replace(rig.fresh(entity), external_id=rig.system.nowhere)
        assert self.adapter.get(rig.open(), entity, rig.system.nowhere) is None, "get tells a record that is not there"
        failure = rig.failure(lambda: rig.write(entity, cmd))
        assert failure is not None, "a write to a record that is gone tells of success"
        assert failure.error_class is ErrorClass.NOT_FOUND, f"told as {failure.error_class}: {failure.message}"
        assert rig.count(entity, cmd) == 0, "whether a record that is gone is made anew is the hub's to decide"

    # --- deleting -----------------------------------------------------------------------------------------------------

    def test_deleting_twice_is_no_error(self, rig: Rig, entity: str) -> None:
        written = rig.write(entity, rig.fresh(entity))
        for _ in range(2):
            self._delete(rig.open(), entity, written.external_id)
            self._require_deleted(rig, entity, written.external_id)

    def test_a_delete_cut_off_at_any_step_is_finished_by_the_next(self, rig: Rig, entity: str) -> None:
        def killed(step: int) -> bool:
            external_id = rig.write(entity, rig.fresh(entity)).external_id
            died = _dies(lambda seen: self._delete(rig.open(seen=seen), entity, external_id), step)
            self._delete(rig.open(), entity, external_id)
            self._require_deleted(rig, entity, external_id)
            return died

        _at_each_step(rig, killed)

    def _delete(self, ctx: Context, entity: str, external_id: str) -> None:
        self.adapter.delete(ctx, entity, external_id, idempotency_key=f"delete-{external_id}")

    def _require_deleted(self, rig: Rig, entity: str, external_id: str) -> None:
        remote = self.adapter.get(rig.open(), entity, external_id)
        assert remote is None or not remote.active, "a deleted record is told as if it were in use"


def _at_each_step(rig: Rig, cut: Callable[[int], bool]) -> None:
    """Cut a call off behind its first request, its second, and so on, until it has no more."""
    for step in range(MOST_STEPS):
        if not cut(step):
            assert step, "the call made no request at all"
            rig.healed()
            return
    raise AssertionError(f"a call makes more than {MOST_STEPS} requests")


def _dies(call: Callable[[Callable[[Exchange], None]], object], step: int) -> bool:
    """Whether the worker died behind this request of its call; False if the call had fewer."""
    left = step

    def die(exchange: Exchange) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    try:
        call(die)
    except Killed:
        return True
    return False
