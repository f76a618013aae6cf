"""Name → adapter. Ours by the table below, outside ones by the entry-point group "crm_hub.adapters"."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from hub_adapter.port import Adapter, AdapterSpec

GROUP = "crm_hub.adapters"
OURS = {
    "caldav": "services.integrations.adapters.caldav.adapter:CaldavAdapter",
    "ghost": "services.integrations.adapters.ghost.adapter:GhostAdapter",
    "tryton": "services.integrations.adapters.tryton.adapter:TrytonAdapter",
    "tryton_marketing": "services.integrations.adapters.tryton_marketing.adapter:TrytonMarketingAdapter",
}


class UnknownAdapter(LookupError):
    """No adapter of this name is installed; the text lists those that are."""


class BrokenAdapter(Exception):
    """An adapter of this name is installed but cannot be used; the text says why."""


def names() -> tuple[str, ...]:
    """All installed adapters, without loading any."""
    return tuple(sorted({*OURS, *_plugged()}))


@cache
def load(name: str) -> Adapter:
    """The adapter of this name, one instance for all connections.

    Raises:
        UnknownAdapter: none is installed under this name.
        BrokenAdapter: it does not import, or is not what `hub_adapter.port.Adapter` asks for.
    """
    try:
        if name in OURS:
            module, _, attribute = OURS[name].partition(":")
            made = getattr(importlib.import_module(module), attribute)()
        elif name in (plugged := _plugged()):
            made = plugged[name].load()()
        else:
            raise UnknownAdapter(f"no adapter named {name!r} is installed; there are: {', '.join(names())}")
    except UnknownAdapter:
        raise
    except Exception as error:
        raise BrokenAdapter(f"adapter {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    _require_adapter(name, made)
    return made  # type: ignore[no-any-return]


def _plugged() -> dict[str, EntryPoint]:
    """Outside adapters. They cannot take the name of one of ours: a package must not slip under a live connection."""
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in OURS}


def _require_adapter(name: str, made: object) -> None:
    spec = getattr(made, "spec", None)
    if not isinstance(spec, AdapterSpec):
        raise BrokenAdapter(f"adapter {name!r} has no `spec: AdapterSpec`")
    if spec.name != name:
        raise BrokenAdapter(f"adapter {name!r} calls itself {spec.name!r}")
    if not isinstance(made, Adapter):
        raise BrokenAdapter(f"adapter {name!r} lacks a method of hub_adapter.port.Adapter; derive from AdapterBase")
