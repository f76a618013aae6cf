"""Reading what adapters are installed."""

from __future__ import annotations

from typing import Any

from chassis import telemetry
from hub_adapter.port import EFFECTIVELY_ONCE, AdapterSpec
from services.integrations.adapters import registry

log = telemetry.logger(__name__)


def listed() -> dict[str, Any]:
    """Return every adapter that can be used; one that is installed but broken is left out and logged."""
    items = []
    for name in registry.names():
        try:
            items.append(_shown(registry.load(name).spec))
        except registry.BrokenAdapter as error:
            log.error("adapter_broken", adapter=name, reason=str(error))
    return {"items": items}


def guarantee(spec: AdapterSpec) -> str:
    """Return what a connection through this adapter may promise, in the contract's word."""
    return "effectively_once" if spec.guarantee == EFFECTIVELY_ONCE else "at_least_once"


def _shown(spec: AdapterSpec) -> dict[str, Any]:
    return {"name": spec.name, "version": spec.version, "title": spec.title, "entities": spec.entities,
            "pulled": spec.pulled, "capabilities": sorted(spec.capabilities), "guarantee": guarantee(spec),
            "accounts": spec.accounts, "consent": dict(spec.consent), "config_schema": spec.config_schema,
            "record_schemas": dict(spec.fields),
            "secret_fields": spec.secret_fields}
