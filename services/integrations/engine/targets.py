"""Connections made ready for calling: adapter, pooled HTTP, opened secrets, and the pace that the target bears."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.crypto import Keyring
from hub_adapter.client import Exchange, HttpPolicy, Transport
from hub_adapter.failure import RateLimited
from hub_adapter.port import EFFECTIVELY_ONCE, Adapter, Capability, Context
from hub_adapter.redaction import Redactor
from services.integrations.adapters import registry
from services.integrations.engine.watching import traced
from services.integrations.models import Connection
from services.integrations.operations import credentials

PACE_WAIT_S = 1.0
"""A call is begun if its first request may leave within so long; what is further away waits outside any call."""
FOR_THE_LAST_S = 1.0
"""Of a call's time, what is left for the request that has waited longest."""


class Paced(RateLimited):
    """Our own limit, not the target's: the call may begin in so many seconds, or, begun, does not fit its deadline."""


class Pace:
    """A token bucket: `rate_per_s` requests on average, `burst` at once. Whoever waits has taken his token already."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate, self._burst = rate_per_s, burst
        self._tokens, self._at = float(burst), time.monotonic()
        self._lock = threading.Lock()

    def turns(self) -> int:
        """Return how many calls may begin now."""
        with self._lock:
            return max(0, int(self._filled() + PACE_WAIT_S * self._rate))

    def pay(self) -> None:
        """Let a request leave at once that waits for nobody; those after it wait the longer."""
        with self._lock:
            self._tokens = self._filled() - 1

    def take(self, within_s: float, *, begun: bool) -> None:
        """Wait for the turn of a call's next request.

        Raises:
            Paced: it is further away.
        """
        with self._lock:
            wait = max(0.0, (1 - self._filled()) / self._rate)
            if wait > within_s:
                told = f"our own limit for this connection: {self._rate:g} requests a second"
                raise Paced(f"{told}; the call does not fit its time" if begun else told,
                            seconds=None if begun else wait)
            self._tokens -= 1
        if wait:
            time.sleep(wait)

    def _filled(self) -> float:
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return self._tokens


class Turns:
    """The turns of one call: it is begun if the first is near, and waits for each other within its deadline."""

    def __init__(self, pace: Pace, within_s: float) -> None:
        self._pace, self._begun = pace, False
        self._until = time.monotonic() + within_s - min(FOR_THE_LAST_S, within_s / 5)

    def take(self) -> None:
        """Wait for the next.

        Raises:
            Paced: it is too far away.
        """
        self._pace.take(self._until - time.monotonic() if self._begun else PACE_WAIT_S, begun=self._begun)
        self._begun = True


class Line:
    """The transport to one target, closed as soon as it has been replaced and no call uses it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._lock = threading.Lock()
        self._calls = 0
        self._replaced = False

    @contextmanager
    def used(self) -> Iterator[Transport]:
        """Keep the transport open for one call."""
        with self._lock:
            self._calls += 1
        try:
            yield self.transport
        finally:
            with self._lock:
                self._calls -= 1
            self._close_if_done()

    def replace(self) -> None:
        """Say that no further call is meant for it. One that was claimed before may still begin, and closes it anew."""
        self._replaced = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        with self._lock:
            done = self._replaced and self._calls == 0
        if done:
            self.transport.close()


@dataclass(frozen=True, kw_only=True)
class Target:
    """One connection, ready to be called."""

    connection_id: str
    name: str = ""
    setup_version: int
    adapter: Adapter
    config: dict[str, Any]
    secrets: dict[str, str] = field(repr=False)
    line: Line
    pace: Pace

    @property
    def honours_key(self) -> bool:
        """Whether sending twice under one key makes one record there."""
        return self.adapter.spec.honours_key

    @property
    def effectively_once(self) -> bool:
        """Whether it can be found out, or does not matter, if a call arrived."""
        return self.adapter.spec.guarantee == EFFECTIVELY_ONCE

    @property
    def refuses_stale(self) -> bool:
        """Whether a write that does not know of the latest change there is refused."""
        return Capability.CONDITIONAL_WRITE in self.adapter.spec.capabilities

    @property
    def missing(self) -> tuple[str, ...]:
        """The secrets that the adapter needs and that nobody has put."""
        return tuple(name for name in self.adapter.spec.secret_fields if name not in self.secrets)

    def redacted(self, text: str) -> str:
        """Return what the target or its adapter said, fit to be kept and shown."""
        return Redactor(self.secrets.values()).text(text)

    def expected(self, ctx: Context, entity: str, local_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return how a record that is sent as `body` will stand there.

        The adapter is told our id as with a write, also where a mapping leaves it out; only then it is not compared.

        Raises:
            Invalid: the record cannot stand there.
        """
        expected = dict(self.adapter.expected(ctx, entity, {"id": local_id, **body}))
        if "id" not in body:
            expected.pop("id", None)
        return expected

    @contextmanager
    def calling(self, clock: Callable[[], dt.datetime], deadline_s: float,
                observer: Callable[[Exchange], None] = lambda exchange: None, traceparent: str | None = None, *,
                dry_run: bool = False, at_once: bool = False) -> Iterator[Context]:
        """Lend what one call of the adapter needs, until it is over; a dry run may change nothing there.

        `at_once`: it waits for no turn, because whether the target is there must not depend on what was sent before.
        """
        trace = traceparent or telemetry.current("traceparent")
        with self.line.used() as transport:
            turns = Turns(self.pace, min(deadline_s, transport.policy.total_s))
            http = transport.session(secrets=self.secrets.values(), total_s=deadline_s,
                                     admit=self.pace.pay if at_once else turns.take,
                                     observer=traced(observer, trace), traceparent=trace, dry_run=dry_run)
            yield Context(http=http, secrets=self.secrets, config=self.config, clock=clock, dry_run=dry_run,
                          deadline=clock() + dt.timedelta(seconds=deadline_s))

    def replace(self) -> None:
        """Let go what is kept open, once the calls under way have ended."""
        self.line.replace()


class CredentialMissing(Exception):
    """The adapter needs a secret that nobody has put; the text names it."""


class Targets:
    """The targets of this process, kept until their settings or credential change."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._ready: dict[str, Target] = {}
        self._lock = threading.Lock()

    def get(self, session: Session, connection: Connection) -> Target:
        """Return the target of a connection row.

        Raises:
            UnknownAdapter, BrokenAdapter: its adapter cannot be used in this installation.
            SealBroken: its credential does not open with our keys.
        """
        ready = self._ready.get(connection.id)
        if ready is None or ready.setup_version != connection.setup_version:
            ready = self._make(session, connection)
            with self._lock:  # another thread may have made one meanwhile
                old, self._ready[connection.id] = self._ready.get(connection.id), ready
            if old is not None:
                old.replace()
        return ready

    def usable(self, session: Session, connection: Connection) -> Target:
        """Return the target of a connection that calls may go to.

        Raises:
            CredentialMissing: it has no credential, or one that lacks a secret.
            Exception: as `get`, and whatever a broken config leads to.
        """
        target = self.get(session, connection)
        if target.missing:
            raise CredentialMissing(f"no such secret has been put: {', '.join(target.missing)}")
        return target

    def load(self, session: Session, connection_id: str) -> Target:
        """Return the target of a connection by id."""
        return self.get(session, session.get_one(Connection, connection_id))

    def ready(self, connection_id: str) -> Target:
        """Return a target that `get` has made."""
        return self._ready[connection_id]

    def _make(self, session: Session, connection: Connection) -> Target:
        return Target(
            connection_id=connection.id, name=connection.name, setup_version=connection.setup_version,
            config=dict(connection.config),
            adapter=registry.load(connection.adapter), line=Line(Transport(_policy(connection))),
            secrets=credentials.secrets_of(session, self._keyring, connection.id),
            pace=Pace(connection.rate_per_s, connection.burst))


def _policy(connection: Connection) -> HttpPolicy:
    # A call that finds no idle connection in the pool makes a new one, and throws it away at its end.
    return replace(HttpPolicy.of(connection.config), pool_size=connection.max_in_flight)
