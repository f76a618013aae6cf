"""What was written is read back as it was meant, listings are whole, and a stale version overwrites nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from hub_adapter.conformance.checks.rigged import RiggedSuite
from hub_adapter.conformance.outcome import NotShown, proves
from hub_adapter.conformance.rig import Rig, follow
from hub_adapter.conformance.system import differences
from hub_adapter.failure import AdapterError, VersionConflict
from hub_adapter.port import Capability, Page, Remote, Write, Written

# Beyond the first plane (𠮷, in real names), a decomposed letter that must not be recomposed into another record, and
# what quoting breaks.
CHINESE = "上海示例有限公司·𠮷野家（华东）"
QUOTED = "O'Brien & <Söhne> \"50%\" \\ a+b"
DECIMALS = ("0.10", "0", "1234567.89", "-3.5")
TIMES = ("2026-12-01T17:30:00+08:00", "2026-12-31T23:59:59-05:00", "2026-03-29T01:30:00Z")
MOST_PAGES = 500
LISTED = 5


class ReadingChecks(RiggedSuite):
    def test_what_is_written_is_read_back(self, rig: Rig, entity: str) -> None:
        cmd = rig.fresh(entity)
        written = self._comes_back(rig, entity, cmd)
        remote = rig.read(entity, written.external_id)
        if written.remote_version is not None:
            assert remote.version == written.remote_version, "get tells another version than the write, of one state"
        if written.body is not None:
            assert _canonical(written.body) == _canonical(remote.body), "the write tells another body than get"
        again = rig.read(entity, written.external_id)
        assert (_canonical(again.body), again.version) == (_canonical(remote.body), remote.version), "two reads differ"

    def test_texts_come_back_as_they_were_written(self, rig: Rig, entity: str) -> None:
        texts = rig.sample(entity).texts
        if not texts:
            raise NotShown(f"Sample.texts of {entity} names no field")
        for field, most in texts.items():
            long = (CHINESE * most)[:most]
            for text in (CHINESE[:most], QUOTED[:most], long):
                remote = self._brought(rig, entity, {field: text})
                told = remote.body.get(field)
                assert told == text, f"{field}: {text[:40]!r} comes back as {told!r}"

    def test_decimals_come_back_as_the_same_number(self, rig: Rig, entity: str) -> None:
        if not (fields := rig.sample(entity).decimals):
            raise NotShown(f"Sample.decimals of {entity} names no field")
        for field in fields:
            for text in DECIMALS:
                told = self._brought(rig, entity, {field: text}).body.get(field)
                assert isinstance(told, str), f"{field} has to come back as a text, not as {told!r}"
                assert Decimal(told) == Decimal(text), f"{field}: {text} comes back as {told}"

    def test_times_come_back_as_the_same_moment(self, rig: Rig, entity: str) -> None:
        if not (fields := rig.sample(entity).times):
            raise NotShown(f"Sample.times of {entity} names no field")
        for field in fields:
            for text in TIMES:
                told = datetime.fromisoformat(str(self._brought(rig, entity, {field: text}).body.get(field)))
                assert told.tzinfo is not None, f"{field} comes back without a zone"
                assert told == datetime.fromisoformat(text), f"{field}: {text} comes back as {told}"

    def test_null_and_missing_come_back_as_expected(self, rig: Rig, entity: str) -> None:
        if not (fields := rig.sample(entity).optional):
            raise NotShown(f"Sample.optional of {entity} names no field")
        for field in fields:
            null, without, cleared = (rig.fresh(entity) for _ in range(3))
            self._comes_back(rig, entity, replace(null, body={**null.body, field: None}))
            others = {name: value for name, value in without.body.items() if name != field}
            self._comes_back(rig, entity, replace(without, body=others))
            written = rig.write(entity, cleared)
            self._comes_back(rig, entity, follow(cleared, written, {**cleared.body, field: None}))

    def test_a_change_reaches_the_record(self, rig: Rig, entity: str) -> None:
        cmd = rig.fresh(entity)
        written = rig.write(entity, cmd)
        body = rig.revised(entity, cmd.body, "2")
        (field,) = (name for name in body if body[name] != cmd.body.get(name))
        changed = self._comes_back(rig, entity, follow(cmd, written, body))
        told = rig.read(entity, changed.external_id).body.get(field)
        assert told == body[field], f"{field}: {body[field]!r} comes back as {told!r}"
        assert rig.count(entity, cmd) <= 1, "a change made another record"

    @proves(Capability.CONDITIONAL_WRITE)
    def test_a_stale_version_never_overwrites(self, rig: Rig, entity: str) -> None:
        cmd = rig.fresh(entity)
        first = rig.write(entity, cmd)
        assert first.remote_version is not None, "a conditional write needs `remote_version`"
        newer = follow(cmd, first, rig.revised(entity, cmd.body, "theirs"))
        rig.write(entity, newer)
        standing = rig.read(entity, first.external_id)
        with pytest.raises(VersionConflict):
            rig.write(entity, follow(cmd, first, rig.revised(entity, cmd.body, "ours, late")))
        with pytest.raises(VersionConflict):
            self.adapter.delete(
                rig.open(), entity, first.external_id, idempotency_key="k", expected_version=first.remote_version
            )
        assert _canonical(rig.read(entity, first.external_id).body) == _canonical(standing.body), "it was overwritten"

    # --- listings -----------------------------------------------------------------------------------------------------

    @proves(Capability.LIST_COMPLETE)
    def test_a_listing_is_whole_while_rows_change(self, rig: Rig, entity: str) -> None:
        made = [(cmd, rig.write(entity, cmd)) for cmd in (rig.fresh(entity) for _ in range(LISTED))]
        there = sum(len(page.items) for page in self._pages(rig, entity, self.adapter.spec.limits.page_size))
        seen: list[str] = []
        for page in self._pages(rig, entity, max(2, there // 4)):
            seen += [remote.external_id for remote in page.items]
            for cmd, written in made if rig.sample(entity).texts else ():  # both told ones and those to come
                body = rig.revised(entity, cmd.body, str(len(seen)))
                rig.write(entity, replace(follow(cmd, written, body), expected_version=None))
        for _, written in made:
            assert seen.count(written.external_id) == 1, f"a record is told {seen.count(written.external_id)} times"

    @proves(Capability.LIST_COMPLETE)
    def test_a_failed_page_is_never_complete(self, rig: Rig, entity: str) -> None:
        rig.write(entity, rig.fresh(entity))
        before = len(rig.exchanges)
        self.adapter.list(rig.open(), entity, None, 1)
        requests = len(rig.exchanges) - before
        assert requests, "a listing asks nobody"
        for step in range(requests):
            for fault in ({"status": 500}, {"drop": "within"}):
                scripted = rig.fail(skip=step, **fault)
                with pytest.raises(AdapterError):
                    self.adapter.list(rig.open(), entity, None, 1)
                assert not scripted.times, "the listing makes fewer requests than before"
                rig.healed()

    def _pages(self, rig: Rig, entity: str, limit: int) -> Iterator[Page[Remote]]:
        cursor = None
        for _ in range(MOST_PAGES):
            page = self.adapter.list(rig.open(), entity, cursor, limit)
            yield page
            if page.complete:
                return
            assert page.next_cursor not in (None, cursor), "a page that is not the last has to lead on"
            cursor = page.next_cursor
        raise AssertionError(f"the listing has no end after {MOST_PAGES} pages")

    def _brought(self, rig: Rig, entity: str, fields: Mapping[str, Any]) -> Remote:
        """A new record with these values, as get tells it."""
        cmd = rig.fresh(entity)
        return rig.read(entity, self._comes_back(rig, entity, replace(cmd, body={**cmd.body, **fields})).external_id)

    def _comes_back(self, rig: Rig, entity: str, cmd: Write) -> Written:
        """Write a record; get has to tell it as `expected` says."""
        expected = self.adapter.expected(rig.open(), entity, cmd.body)
        written = rig.write(entity, cmd)
        told = rig.read(entity, written.external_id).body
        wrong = {pointer: _at(told, pointer) for pointer in differences(expected, told)}
        assert not wrong, f"get tells {wrong}, where expected says {({one: _at(expected, one) for one in wrong})}"
        return written


def _canonical(body: Any) -> str:
    return json.dumps(body, sort_keys=True, ensure_ascii=False)


def _at(body: Any, pointer: str) -> Any:
    for name in pointer.strip("/").split("/"):
        body = body.get(name) if isinstance(body, Mapping) else None
    return body
