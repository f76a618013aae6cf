"""Reading what adapters are installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chassis import telemetry
from contracts.errors import Invalid
from hub_adapter.port import EFFECTIVELY_ONCE, AdapterSpec
from services.integrations.adapters import registry
from services.integrations.routing import PUSHED

log = telemetry.logger(__name__)


def listed() -> dict[str, Any]:
    """Return every adapter that can be used; one that is installed but broken is left out and logged."""
    return {"items": [_shown(spec) for spec in _usable()]}


def require_entity(asked: Mapping[str, Any]) -> None:
    """Refuse to list by an entity that nothing brings to a target and no adapter reads.

    Raises:
        Invalid: names those that there are.
    """
    entity = asked.get("entity")
    if entity is None or entity in PUSHED:
        return
    known = PUSHED.union(*(spec.entities for spec in _usable()))
    if entity not in known:
        raise Invalid.of("/entity", "unknown", f"Must be one of: {', '.join(sorted(known))}.")


def _usable() -> Iterator[AdapterSpec]:
    for name in registry.names():
        try:
            yield registry.load(name).spec
        except registry.BrokenAdapter as error:
            log.error("adapter_broken", adapter=name, reason=str(error))


def guarantee(spec: AdapterSpec) -> str:
    """Return what a connection through this adapter may promise, in the contract's word."""
    return "effectively_once" if spec.guarantee == EFFECTIVELY_ONCE else "at_least_once"


def _shown(spec: AdapterSpec) -> dict[str, Any]:
    return {"name": spec.name, "version": spec.version, "title": spec.title, "entities": spec.entities,
            "pulled": spec.pulled, "capabilities": sorted(spec.capabilities), "guarantee": guarantee(spec),
            "accounts": spec.accounts, "consent": dict(spec.consent), "config_schema": spec.config_schema,
            "record_schemas": dict(spec.fields),
            "secret_fields": spec.secret_fields}
