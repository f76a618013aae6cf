"""What the suites have shown, as JSON for a program and in a few lines for a person."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from hub_adapter.conformance.checks.once import OnceChecks
from hub_adapter.conformance.outcome import Outcome
from hub_adapter.port import AT_LEAST_ONCE, AdapterSpec, Capability, guarantee


def sentence(name: str) -> str:
    """A check's name as what holds if it is proven."""
    return name.removeprefix("test_").replace("_", " ")


ONE_RECORD = frozenset(
    sentence(name)
    for name, check in vars(OnceChecks).items()
    if getattr(check, "once", False) and not hasattr(check, "proves")
)
"""The checks about one record staying one that are asked of every adapter, whatever it declares."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check as it ended.

    Args:
        name: what holds if it is proven, as a sentence.
        of: the entity or case that it was asked of.
        entity: the entity, if it is asked of each that the suite names.
        once: it is about one record staying one: no guarantee above the least is earned unless it is proven.
    """

    name: str
    of: str | None
    entity: str | None
    outcome: Outcome
    message: str
    seconds: float
    proves: Capability | None
    once: bool


@dataclass
class SuiteReport:
    """The checks of one suite, by node id: one that runs again counts as it ended last."""

    spec: AdapterSpec
    checks: dict[str, Check] = field(default_factory=dict)

    @property
    def proven(self) -> frozenset[Capability]:
        """Declared capabilities that a check has shown and none has denied."""
        outcomes: dict[Capability, set[Outcome]] = {}
        for check in self.checks.values():
            if check.proves is not None:
                outcomes.setdefault(check.proves, set()).add(check.outcome)
        shown = {one for one, of in outcomes.items() if Outcome.PROVEN in of and Outcome.FAILED not in of}
        return frozenset(shown & self.spec.capabilities)

    @property
    def earned(self) -> str:
        """The guarantee that a connection through this adapter may promise, by what was shown of each entity asked."""
        once = [check for check in self.checks.values() if check.once]
        held = all(check.outcome in (Outcome.PROVEN, Outcome.NOT_CLAIMED) for check in once)
        entities = {check.entity for check in self.checks.values() if check.entity is not None}
        whole = set(product(entities, ONE_RECORD)) <= {(check.entity, check.name) for check in once}
        return guarantee(self.proven) if entities and whole and held else AT_LEAST_ONCE

    @property
    def asked(self) -> tuple[str, ...]:
        """Entities of whose records something was proven or denied. Of the spec's others a poll may be, and no more."""
        found = {check.entity for check in self.checks.values() if check.outcome in (Outcome.PROVEN, Outcome.FAILED)}
        return tuple(entity for entity in self.spec.entities if entity in found)

    @property
    def not_asked(self) -> tuple[str, ...]:
        return tuple(entity for entity in self.spec.entities if entity not in self.asked)

    def count(self, outcome: Outcome) -> int:
        return Counter(check.outcome for check in self.checks.values())[outcome]

    def told(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "adapter": spec.name,
            "version": spec.version,
            "entities": {"asked": list(self.asked), "not asked": list(self.not_asked)},
            "capabilities": {
                "proven": sorted(self.proven),
                "declared, not proven": sorted(spec.capabilities - self.proven),
                "not claimed": sorted(set(Capability) - spec.capabilities),
            },
            "guarantee": {"declared": spec.guarantee, "earned": self.earned},
            "counts": {str(outcome): self.count(outcome) for outcome in Outcome},
            "checks": [
                {"name": one.name, "of": one.of, "outcome": str(one.outcome), "message": one.message,
                 "seconds": round(one.seconds, 3)}
                for one in self.checks.values()
            ],
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        counted = ", ".join(f"{self.count(outcome)} {outcome}" for outcome in Outcome if self.count(outcome))
        yield f"{self.spec.name} {self.spec.version}: {counted}; earned: {self.earned}"
        not_asked = f"; not of: {', '.join(self.not_asked)}" if self.not_asked else ""
        yield f"  asked of: {', '.join(self.asked) or 'no entity'}{not_asked}"
        for check in self.checks.values():
            if check.outcome in (Outcome.NOT_CLAIMED, Outcome.NOT_SHOWN):
                of = f" [{check.of}]" if check.of else ""
                yield f"  {check.outcome}: {check.name}{of} ({check.message})"


class Reports:
    """The suites of one run, by the node id of their class."""

    def __init__(self) -> None:
        self.suites: dict[str, SuiteReport] = {}

    def of(self, suite: str, spec: AdapterSpec) -> SuiteReport:
        return self.suites.setdefault(suite, SuiteReport(spec))

    def json(self) -> str:
        told = {name: suite.told() for name, suite in self.suites.items()}
        return json.dumps({"suites": told}, ensure_ascii=False, indent=2) + "\n"
