"""An adapter, the system it speaks to, and the fault proxy between them, as the checks hold them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from hub_adapter.client import Exchange, Transport
from hub_adapter.conformance.outcome import NotShown
from hub_adapter.conformance.proxy import FaultProxy
from hub_adapter.conformance.server import Fault
from hub_adapter.conformance.system import Sample, System
from hub_adapter.failure import ErrorClass, Failure
from hub_adapter.port import Adapter, Context, Remote, Write, Written

SETTLES_WITHIN_S = 60.0
AGAIN_S = 0.05
WORTH_ANOTHER_CALL = frozenset(
    {ErrorClass.TRANSIENT, ErrorClass.AMBIGUOUS, ErrorClass.RATE_LIMITED, ErrorClass.ALREADY_EXISTS}
)
EVERY = 10_000
"""Times of a fault that does not end by itself."""


class Killed(BaseException):
    """The process that called the adapter died: no `except Exception` of the adapter's hears of it."""


class Rig:
    """Lives for one check. `exchanges` has what its contexts sent, in order."""

    def __init__(self, adapter: Adapter, system: System, proxy: FaultProxy) -> None:
        self.adapter, self.system, self.proxy = adapter, system, proxy
        address = urlsplit(str(system.config[system.address]))
        proxy.upstream = f"{address.scheme}://{address.netloc}"
        proxy.faults.clear()
        proxy.seen.clear()
        self.exchanges: list[Exchange] = []
        self.config = {**system.config, system.address: proxy.url + address.path}
        self._transports: list[Transport] = []
        self._transport = self._transported(system.policy.read_timeout_s)

    def close(self) -> None:
        self.proxy.faults.clear()
        for transport in self._transports:
            transport.close()

    def _transported(self, read_timeout_s: float) -> Transport:
        self._transports.append(Transport(replace(self.system.policy, read_timeout_s=read_timeout_s)))
        return self._transports[-1]

    def open(
        self,
        *,
        secrets: Mapping[str, str] | None = None,
        dry_run: bool = False,
        admit: Callable[[], None] | None = None,
        seen: Callable[[Exchange], None] | None = None,
        read_timeout_s: float | None = None,
    ) -> Context:
        """A context as the hub opens one for each call.

        Args:
            seen: is told each exchange once it is over; what it raises ends the call.
        """
        secrets = self.system.secrets if secrets is None else secrets
        transport = self._transported(read_timeout_s) if read_timeout_s else self._transport

        def observed(exchange: Exchange) -> None:
            self.exchanges.append(exchange)
            if seen is not None:
                seen(exchange)

        return Context(
            http=transport.session(secrets=secrets.values(), observer=observed, admit=admit, dry_run=dry_run),
            secrets=secrets,
            config=self.config,
            clock=lambda: datetime.now(UTC),
            deadline=datetime.now(UTC) + timedelta(seconds=self.system.policy.total_s),
            dry_run=dry_run,
        )

    def fail(self, **fault: Any) -> Fault:
        """Script what happens to the next requests on their way."""
        return self.proxy.fail(**fault)

    def healed(self) -> None:
        """No more faults."""
        self.proxy.faults.clear()

    # --- records ------------------------------------------------------------------------------------------------------

    def sample(self, entity: str) -> Sample:
        if entity not in self.system.samples:
            raise NotShown(f"System.samples has no {entity}")
        return self.system.samples[entity]

    def fresh(self, entity: str) -> Write:
        """The write of a record that nobody has yet."""
        return self.sample(entity).make()

    def revised(self, entity: str, body: Mapping[str, Any], word: str) -> dict[str, Any]:
        """The record with another text in it."""
        for field, most in self.sample(entity).texts.items():
            return {**body, field: f"{word} {body.get(field) or ''}".strip()[:most]}
        raise NotShown(f"Sample.texts of {entity} names no field to change")

    def write(self, entity: str, cmd: Write, **opened: Any) -> Written:
        """One call."""
        return self.adapter.write(self.open(**opened), entity, cmd)

    def settled(self, entity: str, cmd: Write) -> Written:
        """Bring a record as the hub does: again after each failure that is worth it, until it stands."""
        until = time.monotonic() + SETTLES_WITHIN_S
        while True:
            try:
                return self.write(entity, cmd)
            except Exception as error:
                failure = self.adapter.classify(error)
                if failure.error_class not in WORTH_ANOTHER_CALL or time.monotonic() > until:
                    raise
                time.sleep(failure.retry_after_s or AGAIN_S)

    def read(self, entity: str, external_id: str) -> Remote:
        remote = self.adapter.get(self.open(), entity, external_id)
        assert remote is not None, f"get does not tell {entity} {external_id}, which was just written"
        return remote

    def count(self, entity: str, cmd: Write) -> int:
        """How many records stand there for a write, by the system's own word."""
        return self.system.count(entity, cmd)

    def failure(self, call: Callable[[], object]) -> Failure | None:
        """What a call's failure means to the hub; None if it did not fail."""
        try:
            call()
        except Exception as error:
            return self.adapter.classify(error)
        return None

    def changing(self, entity: str) -> int:
        """How many requests a write of a new record makes before its first that changes something."""
        before = len(self.exchanges)
        self.write(entity, self.fresh(entity))
        made = [exchange.changes for exchange in self.exchanges[before:]]
        assert True in made, "a new record was written without a request that changes something"
        return made.index(True)


def follow(cmd: Write, written: Written, body: Mapping[str, Any] | None = None) -> Write:
    """The next change of a record that stands as `written` tells."""
    return replace(
        cmd,
        body=cmd.body if body is None else body,
        external_id=written.external_id,
        expected_version=written.remote_version,
        source_version=cmd.source_version + 1,
        idempotency_key=f"{cmd.idempotency_key}-{uuid.uuid4().hex[:8]}",
    )
