"""A target without a network: its own table, calls that hang as long as the schedule likes, and answers that get lost.

A call is a greenlet. It stops where its bytes are on the wire, and goes on when the schedule says what became of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import greenlet

from hub_adapter.port import (
    AdapterBase,
    AdapterSpec,
    Capability,
    CheckResult,
    Context,
    DependencyMissing,
    ErrorClass,
    InDoubt,
    Invalid,
    Limits,
    NotFound,
    Page,
    Problem,
    RateLimited,
    Remote,
    TargetGone,
    TryLater,
    Write,
    Written,
)
from tests.simulation.clock import Clock

ANSWERS_WITHIN_S = 30.0
"""A request that has not been served by then was cut: no call lasts longer (`call_deadline_s`)."""
COMMITS_WITHIN_S = 5.0
"""A target may still do what was asked for so long after the asker has gone (`doubt_proof_s`); the engine counts on it
that it does not later."""

Fate = Literal["done", "held", "lost", "late", "refused", "unreachable", "busy", "invalid", "broken", "gone"]
"""What becomes of a request.

done: served and answered. held: served, and the answer takes its time. lost: served, and the answer never comes.
late: cut, and perhaps served after that. The others are refusals: nothing was done.
"""
REFUSALS: Mapping[str, Callable[[], Exception]] = {
    "refused": lambda: TryLater("500", http_status=500),
    "unreachable": lambda: TryLater("connection refused"),
    "busy": lambda: RateLimited("429", seconds=40.0, http_status=429),
    "invalid": lambda: Invalid("422", field="/name", http_status=422),
    "broken": lambda: KeyError("an adapter's own fault"),
    "gone": lambda: TargetGone("410", http_status=410),
}


@dataclass
class Row:
    """A record as the target has it."""

    entity: str
    key: str
    version: int
    changes: int = 1


@dataclass
class Request:
    """What is on the wire: what the target would do, and until when it may."""

    target: Target
    does: Callable[[], Any]
    asks: bool
    until: float
    answer: Any = None
    served: bool = False


@dataclass
class Target:
    """The table of one target, and what it noticed: a record doubled (D), an older version on a newer one (O)."""

    clock: Clock
    unique: bool
    """Whether it refuses a second record under one key; it then also repeats its answer to a repeated key."""
    up: bool = True
    rows: dict[str, Row] = field(default_factory=dict)
    facts: dict[str, list[int]] = field(default_factory=dict)
    late: list[Request] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    newest: dict[tuple[str, str], int] = field(default_factory=dict)
    checked: int = 0
    refused: int = 0
    _keys: dict[str, str] = field(default_factory=dict)
    _serial: int = 0

    def of(self, entity: str, key: str) -> list[str]:
        return [id for id, row in self.rows.items() if (row.entity, row.key) == (entity, key)]

    # --- what it does ---------------------------------------------------------------------------------------------

    def write(self, entity: str, cmd: Write) -> str:
        """Create or change a record. Whoever does not know it by its id may make it twice."""
        if entity == "order" and cmd.references.get("customer") not in self.rows:
            raise DependencyMissing("424", dependency="customer", http_status=424)
        if self.unique and cmd.idempotency_key in self._keys:
            return self._keys[cmd.idempotency_key]
        if cmd.external_id is None:
            id = self._created(entity, cmd)
        elif (row := self.rows.get(cmd.external_id)) is None:
            raise NotFound("404", http_status=404)
        else:
            row.version, row.changes, id = cmd.source_version, row.changes + 1, cmd.external_id
        if cmd.source_version < self.newest.get((entity, cmd.local_id), 0):
            self.breaches.append(f"O: {entity} {cmd.local_id} went back to version {cmd.source_version}")
        self.newest[entity, cmd.local_id] = cmd.source_version
        self._keys[cmd.idempotency_key] = id
        return id

    def _created(self, entity: str, cmd: Write) -> str:
        if self.of(entity, cmd.local_id):
            self.breaches.append(f"D: {entity} {cmd.local_id} was made twice")
        self._serial += 1
        self.rows[str(self._serial)] = Row(entity, cmd.local_id, cmd.source_version)
        return str(self._serial)

    def append(self, cmd: Write) -> str:
        """Put a fact behind those that are there."""
        facts = self.facts.setdefault(cmd.local_id, [])
        if cmd.source_version in facts:
            return cmd.local_id
        if cmd.source_version != len(facts) + 1:
            self.breaches.append(f"O: fact {cmd.source_version} came after {facts}")
        facts.append(cmd.source_version)
        return cmd.local_id

    def delete(self, id: str) -> None:
        row = self.rows.pop(id, None)
        for key in [key for key, known in self._keys.items() if known == id]:
            del self._keys[key]
        if row is None:
            raise NotFound("404", http_status=404)

    # --- what becomes of a request ----------------------------------------------------------------------------------

    def send(self, ctx: Context, does: Callable[[], Any], *, asks: bool) -> Any:
        """Put a request on the wire, and wait for what the schedule makes of it; the call's deadline is its end."""
        left_s = min(ANSWERS_WITHIN_S, (ctx.deadline - self.clock.now()).total_seconds())
        request = Request(self, does, asks, self.clock.elapsed() + left_s)
        fate: Fate = greenlet.getcurrent().parent.switch(request)
        return self._answered(request, fate)

    def serve(self, request: Request) -> None:
        """Do what is asked, unless its time is over."""
        if not request.served and self.clock.elapsed() <= request.until:
            request.served = True
            try:
                request.answer = request.does()
            except Exception as refusal:
                request.answer = refusal

    def cut(self, request: Request) -> None:
        """The asker has gone: what is not done by now may be done in the next seconds, or never."""
        if not (request.served or request.asks):
            request.until = min(request.until, self.clock.elapsed() + COMMITS_WITHIN_S)
            self.late.append(request)

    def _answered(self, request: Request, fate: Fate) -> Any:
        if fate in ("done", "lost"):
            self.serve(request)
        if request.served and fate == "done":
            if isinstance(request.answer, Exception):
                raise request.answer
            return request.answer
        if not request.served and fate in REFUSALS:
            self.refused += 1
            raise REFUSALS[fate]()
        self.cut(request)
        raise TryLater("no answer to a question") if request.asks else InDoubt("no answer")


def spec(name: str, *capabilities: Capability) -> AdapterSpec:
    return AdapterSpec(
        name=name, version="1", title="Simulated target", config_schema={"type": "object"}, secret_fields=(),
        entities=("customer", "order", "payment"), capabilities=frozenset(capabilities),
        limits=Limits(rate_per_s=10**6, burst=10**6, max_in_flight=2))


class SimulatedAdapter(AdapterBase):
    """Speaks to the target of its connection, by `config["target"]`. It looks before it creates, as the port asks."""

    targets: ClassVar[dict[str, Target]] = {}
    unique: ClassVar[bool]

    def _at(self, ctx: Context) -> Target:
        return self.targets[ctx.config["target"]]

    def check(self, ctx: Context) -> CheckResult:
        self._at(ctx).checked += 1
        if self._at(ctx).up:
            return CheckResult()
        return CheckResult(problems=(Problem("base_url", "away"),), error_class=ErrorClass.TRANSIENT)

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        target = self._at(ctx)
        found: list[Remote] = target.send(ctx, lambda: _remotes(target, entity, external_id), asks=True)
        return found[0] if found else None

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        target = self._at(ctx)
        found: list[Remote] = target.send(ctx, lambda: _found(target, entity, keys["id"]), asks=True)
        return found

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        target = self._at(ctx)
        if entity == "payment":
            return Written(external_id=target.send(ctx, lambda: target.append(cmd), asks=False))
        if cmd.external_id is None and not self.unique and (known := self.find(ctx, entity, {"id": cmd.local_id})):
            cmd = replace(cmd, external_id=known[0].external_id)
        return Written(external_id=target.send(ctx, lambda: target.write(entity, cmd), asks=False))

    def delete(self, ctx: Context, entity: str, external_id: str, *, idempotency_key: str,
               expected_version: str | None = None) -> Written:
        target = self._at(ctx)
        target.send(ctx, lambda: target.delete(external_id), asks=False)
        return Written(external_id=external_id)

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        rows = [row for id in self._at(ctx).rows for row in _remotes(self._at(ctx), entity, id)]
        return Page(items=rows, next_cursor=None, complete=True)


def _remotes(target: Target, entity: str, id: str) -> list[Remote]:
    if entity == "payment":
        return _found(target, entity, id)
    return [Remote(external_id=id, body={}, version=str(target.rows[id].changes))] if id in target.rows else []


def _found(target: Target, entity: str, key: str) -> list[Remote]:
    if entity == "payment":
        return [Remote(external_id=key, body={})] if key in target.facts else []
    return [one for id in target.of(entity, key) for one in _remotes(target, entity, id)]


class KeyedAdapter(SimulatedAdapter):
    """Its target honours keys, and can be asked."""

    unique = True
    spec = spec("sim_keyed", Capability.IDEMPOTENCY_KEY, Capability.FIND_BY_LOCAL_KEY)


class AskedAdapter(SimulatedAdapter):
    """Its target can be asked, and makes twice what it is told twice."""

    unique = False
    spec = spec("sim_asked", Capability.FIND_BY_LOCAL_KEY)


class BlindAdapter(SimulatedAdapter):
    """Its target can be neither asked nor told twice: what a lost call has made there, only people see."""

    unique = False
    spec = spec("sim_blind")

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        return []
