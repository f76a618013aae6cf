"""How an adapter behaves on the way: by its session only, no secret in what it says, and no change in a dry run."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from hub_adapter.conformance.checks.rigged import RiggedSuite
from hub_adapter.conformance.outcome import NotShown
from hub_adapter.conformance.rig import Rig, follow
from hub_adapter.conformance.structural import SHORTEST_SECRET
from hub_adapter.failure import ErrorClass, Failure, RateLimited


class MannerChecks(RiggedSuite):
    def test_all_traffic_goes_through_the_session(self, rig: Rig, entity: str) -> None:
        for call in self._calls(rig, entity):
            call()
        past = len(rig.proxy.seen) - len(rig.exchanges)
        assert past == 0, f"{past} requests went past the session: past its rate, its limits and its trace"

    def test_no_more_is_sent_than_the_rate_allows(self, rig: Rig, entity: str) -> None:
        rig.write(entity, rig.fresh(entity))
        if len(rig.exchanges) < 2:
            raise NotShown(f"a new {entity} takes one request: no rate ends amid it")
        for allowed in range(1, len(rig.exchanges)):
            before = len(rig.proxy.seen)
            failure = _failure_of_limited(rig, entity, allowed)
            sent = len(rig.proxy.seen) - before
            assert sent <= allowed, f"{allowed} requests were allowed, {sent} were made"
            assert failure is not None, f"{allowed} requests were allowed, which is too few, and all is well"
            assert failure.error_class is ErrorClass.RATE_LIMITED, f"told as {failure.error_class}: {failure.message}"

    def test_a_dry_run_changes_nothing(self, rig: Rig, entity: str) -> None:
        cmd, new = rig.fresh(entity), rig.fresh(entity)
        written = rig.write(entity, cmd)
        before = rig.read(entity, written.external_id)
        rig.exchanges.clear()
        rig.write(entity, new, dry_run=True)
        rig.write(entity, follow(cmd, written, self._other(rig, entity, cmd.body)), dry_run=True)
        dry = rig.open(dry_run=True)
        self.adapter.delete(dry, entity, written.external_id, idempotency_key="dry")
        assert not any(exchange.changes for exchange in rig.exchanges), "a dry run sent a change"
        assert rig.count(entity, new) == 0, "a dry run made a record"
        assert rig.read(entity, written.external_id) == before, "a dry run changed a record"

    def test_no_secret_is_logged_or_shown(self, rig: Rig, entity: str, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        good, bad = rig.system.secrets, rig.system.refused_secrets
        sought = {form for secret in (*good.values(), *bad.values()) for form in _spellings(secret)}
        if not sought:
            raise NotShown("no secret is long enough to be looked for")
        said: list[str] = [repr(self.adapter), repr(vars(self.adapter))]
        for secrets in (good, bad):
            for call in self._calls(rig, entity, secrets=secrets):
                try:
                    said.append(repr(call()))
                except Exception as error:
                    said += [repr(error), repr(self.adapter.classify(error))]
        said += [repr(exchange) for exchange in rig.exchanges]
        said += [f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records]
        shown = [text[:200] for text in said if any(form in text for form in sought)]
        assert not shown, f"a secret stands in {len(shown)} texts that are kept or shown, the first: {shown[0]!r}"

    def _other(self, rig: Rig, entity: str, body: Any) -> dict[str, Any]:
        return rig.revised(entity, body, "2") if rig.sample(entity).texts else dict(body)

    def _calls(self, rig: Rig, entity: str, **opened: Any) -> list[Callable[[], object]]:
        """One of each call that an adapter of any kind answers."""
        cmd = rig.fresh(entity)
        external_id = rig.write(entity, cmd).external_id
        adapter = self.adapter
        return [
            lambda: adapter.check(rig.open(**opened)),
            lambda: rig.write(entity, rig.fresh(entity), **opened),
            lambda: adapter.get(rig.open(**opened), entity, external_id),
            lambda: adapter.list(rig.open(**opened), entity, None, 2),
            lambda: adapter.delete(rig.open(**opened), entity, external_id, idempotency_key="delete"),
        ]


def _failure_of_limited(rig: Rig, entity: str, allowed: int) -> Failure | None:
    """What becomes of a write whose connection has so many requests left."""
    left = allowed

    def admit() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RateLimited("the connection's rate is used up", seconds=3)

    return rig.failure(lambda: rig.write(entity, rig.fresh(entity), admit=admit))


def _spellings(secret: str) -> set[str]:
    """A secret as it may stand in a text: plain, in a URL, and in base64 where the first bytes are its own."""
    if len(secret) < SHORTEST_SECRET:
        return set()
    whole = len(secret) // 3 * 4  # what follows may change the last characters
    return {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()[:whole]}
