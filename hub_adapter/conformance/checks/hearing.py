"""What is heard from the system: polls, messages, our own echo; and a credential that ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import pytest

from hub_adapter.conformance.checks.rigged import RiggedSuite
from hub_adapter.conformance.outcome import NotShown, proves
from hub_adapter.conformance.rig import Rig, follow
from hub_adapter.conformance.system import Message, Tokens, altered
from hub_adapter.failure import AdapterError, AuthRefused, ErrorClass
from hub_adapter.port import Capability, Change, Refreshing, Written

MOST_PAGES = 500
AT_ONCE = 10
KNOWN_AGAIN_S = 86_400.0
"""For so long the hub knows a message that it has taken in."""


class HearingChecks(RiggedSuite):
    # --- polls --------------------------------------------------------------------------------------------------------

    @proves(Capability.INCREMENTAL)
    def test_the_first_poll_tells_of_everything_and_the_next_has_an_end(self, rig: Rig, pulled: str) -> None:
        made = self._there(rig, pulled, 3)
        there, _ = self._polled(rig, pulled, None)
        told, checkpoint = self._polled(rig, pulled, None, limit=max(2, len(there) // 4))
        for found in (there, told):
            assert made <= {change.external_id for change in found}, "the first poll leaves out what is there"
        self._polled(rig, pulled, checkpoint)

    @proves(Capability.INCREMENTAL)
    def test_a_failed_poll_tells_nothing(self, rig: Rig, pulled: str) -> None:
        self._there(rig, pulled, 1)
        before = len(rig.exchanges)
        self.adapter.changes(rig.open(), pulled, None, 1)
        requests = len(rig.exchanges) - before
        assert requests, "a poll asks nobody"
        for step in range(requests):
            scripted = rig.fail(skip=step, status=500)
            with pytest.raises(AdapterError):
                self.adapter.changes(rig.open(), pulled, None, 1)
            assert not scripted.times, "the poll makes fewer requests than before"
            rig.healed()

    @proves(Capability.INCREMENTAL)
    def test_our_own_write_is_known_by_its_version(self, rig: Rig, pulled: str) -> None:
        cmd = rig.fresh(pulled)
        _, checkpoint = self._polled(rig, pulled, None)
        written = rig.write(pulled, cmd)
        self._require_echo(rig, pulled, checkpoint, written)
        if not rig.sample(pulled).texts:
            return
        _, checkpoint = self._polled(rig, pulled, checkpoint)
        again = rig.write(pulled, follow(cmd, written, rig.revised(pulled, cmd.body, "2")))
        self._require_echo(rig, pulled, checkpoint, again)

    def _there(self, rig: Rig, entity: str, count: int) -> set[str]:
        """Records that a first poll has to tell of: made for it, or else found there."""
        if entity in rig.system.samples:
            return {rig.write(entity, rig.fresh(entity)).external_id for _ in range(count)}
        found = {one.external_id for one in self.adapter.list(rig.open(), entity, None, count).items}
        if not found:
            raise NotShown(f"System.samples has no {entity}, and none is there")
        return found

    def _require_echo(self, rig: Rig, entity: str, checkpoint: str, written: Written) -> None:
        assert written.remote_version is not None, "without `remote_version` a write's echo passes for news"
        told, _ = self._polled(rig, entity, checkpoint)
        versions = {change.version for change in told if change.external_id == written.external_id}
        assert versions == {written.remote_version}, f"the poll tells {versions}, the write {written.remote_version}"

    def _polled(
        self, rig: Rig, entity: str, checkpoint: str | None, limit: int | None = None
    ) -> tuple[Sequence[Change], str]:
        """Every change since a checkpoint, and the checkpoint behind them."""
        told: list[Change] = []
        for _ in range(MOST_PAGES):
            page = self.adapter.changes(rig.open(), entity, checkpoint, limit or self.adapter.spec.limits.page_size)
            assert page.next_cursor is not None, "the checkpoint of a poll is never None"
            told += page.items
            checkpoint = page.next_cursor
            if page.complete:
                return told, checkpoint
        raise AssertionError(f"the poll has no end after {MOST_PAGES} pages")

    # --- messages -----------------------------------------------------------------------------------------------------

    @proves(Capability.WEBHOOK)
    def test_a_signed_message_tells_how_the_record_stands(self, rig: Rig, entity: str) -> None:
        written = rig.write(entity, rig.fresh(entity))
        (change,) = self._heard(rig, entity, self._message(rig, entity, written))
        assert (change.external_id, change.op) == (written.external_id, "upsert")
        remote = rig.read(entity, written.external_id)
        assert change.version == remote.version, "a message and get tell different versions of one state"

    @proves(Capability.WEBHOOK)
    def test_a_forged_message_is_refused(self, rig: Rig, entity: str) -> None:
        headers, body = self._message(rig, entity, rig.write(entity, rig.fresh(entity)))
        unsigned = {name: "x" for name in headers}
        for forged in ((headers, body + b" "), (unsigned, body), ({}, body)):
            with pytest.raises(AuthRefused):
                self.adapter.parse_webhook(rig.open(), *forged)
        bad = rig.open(secrets=rig.system.refused_secrets)
        with pytest.raises(AuthRefused):
            self.adapter.parse_webhook(bad, headers, body)

    @proves(Capability.WEBHOOK)
    def test_an_old_message_is_refused_however_well_it_is_signed(self, rig: Rig, entity: str) -> None:
        written = rig.write(entity, rig.fresh(entity))
        with pytest.raises(AuthRefused):
            self.adapter.parse_webhook(rig.open(), *self._message(rig, entity, written, KNOWN_AGAIN_S))

    @proves(Capability.WEBHOOK)
    def test_a_message_is_one_by_its_body_and_its_signed_headers(self, rig: Rig, entity: str) -> None:
        headers, body = self._message(rig, entity, rig.write(entity, rig.fresh(entity)))
        signed = self.adapter.spec.signed(headers)
        bare = rig.failure(lambda: self.adapter.parse_webhook(rig.open(), signed, body))
        assert bare is None or bare.error_class is not ErrorClass.AUTH, "`signed_headers` leaves a signed header out"
        for name, value in signed.items():
            for respelled in {altered(value), value.upper(), value.replace(" ", ""), f"{value} "} - {value}:
                with pytest.raises(AuthRefused):
                    self.adapter.parse_webhook(rig.open(), {**signed, name: respelled}, body)

    @proves(Capability.WEBHOOK)
    def test_a_message_that_is_repeated_or_late_can_be_told(self, rig: Rig, entity: str) -> None:
        cmd = rig.fresh(entity)
        written = rig.write(entity, cmd)
        early = self._message(rig, entity, written)
        rig.write(entity, follow(cmd, written, rig.revised(entity, cmd.body, "2")))
        late = self._message(rig, entity, written)
        (newer,), (older,) = self._heard(rig, entity, late), self._heard(rig, entity, early)
        (repeated,) = self._heard(rig, entity, early)
        assert repeated == older, "one message is told in two ways: a repeated one would pass for news"
        assert newer.version != older.version, "two states have one version: the second would pass for a repetition"
        if newer.changed_at is not None and older.changed_at is not None:
            assert older.changed_at <= newer.changed_at, "the later state is told as the earlier one"

    def _message(self, rig: Rig, entity: str, written: Written, age_s: float = 0) -> Message:
        assert rig.system.webhook is not None, "webhook is declared; give System.webhook, or nothing proves it"
        return rig.system.webhook(entity, written.external_id, age_s)

    def _heard(self, rig: Rig, entity: str, message: Message) -> Sequence[Change]:
        headers, body = message
        told = self.adapter.parse_webhook(rig.open(), headers, body)
        return [change for change in told if change.entity == entity]

    # --- a credential that ends ---------------------------------------------------------------------------------------

    @proves(Capability.REFRESH)
    def test_ten_calls_with_an_ended_token_are_refused_and_one_refresh_helps_all(self, rig: Rig, entity: str) -> None:
        tokens, external_id = _tokens(rig), rig.write(entity, rig.fresh(entity)).external_id
        tokens.expire()
        before = tokens.traded()

        def ask(secrets: Mapping[str, str]) -> list[ErrorClass | None]:
            return _at_once(
                lambda: rig.failure(lambda: self.adapter.get(rig.open(secrets=secrets), entity, external_id))
            )

        assert set(ask(rig.system.secrets)) == {ErrorClass.AUTH}, "an ended token has to be told as `auth`"
        assert tokens.traded() == before, "the adapter trades by itself: ten calls would trade ten times"
        assert isinstance(self.adapter, Refreshing)
        fresh = self.adapter.refresh(rig.open()).secrets
        assert tokens.traded() == before + 1, "one refresh trades once"
        assert fresh.keys() <= set(self.adapter.spec.secret_fields), "a refresh tells secrets that the spec lacks"
        assert set(ask({**rig.system.secrets, **fresh})) == {None}, "the fresh credential is refused"

    @proves(Capability.REFRESH)
    def test_a_refresh_that_is_refused_asks_for_a_person(self, rig: Rig) -> None:
        assert isinstance(self.adapter, Refreshing)
        with pytest.raises(AuthRefused):
            self.adapter.refresh(rig.open(secrets=rig.system.refused_secrets))


def _tokens(rig: Rig) -> Tokens:
    assert rig.system.tokens is not None, "refresh is declared; give System.tokens, or nothing proves it"
    return rig.system.tokens


def _at_once(call: Callable[[], object]) -> list[ErrorClass | None]:
    """What came of `AT_ONCE` calls at once."""
    came: list[ErrorClass | None] = []

    def one() -> None:
        failure = call()
        came.append(getattr(failure, "error_class", None))

    workers = [threading.Thread(target=one) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(came) == AT_ONCE
    return came
