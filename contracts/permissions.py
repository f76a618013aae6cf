"""Every right that means something to the hub, gathered from the contracts that ask for it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import contracts
from contracts.operation import UNMASK, Operation, Permission
from contracts.schema import Record


@cache
def declared() -> Mapping[str, frozenset[str]]:
    """Return entity → the actions that can be granted on it. `unmask` is one of each: runs find values of any."""
    actions: dict[str, set[str]] = {}
    for module in pkgutil.iter_modules(contracts.__path__):
        for value in vars(importlib.import_module(f"contracts.{module.name}")).values():
            for permission in _asked_by(value):
                actions.setdefault(permission.entity, {UNMASK}).add(permission.action)
    return {entity: frozenset(named) for entity, named in sorted(actions.items())}


def _asked_by(value: Any) -> Iterator[Permission]:
    if isinstance(value, Permission):
        yield value
    elif isinstance(value, Operation) and value.permission is not None:
        yield value.permission
    elif isinstance(value, type) and issubclass(value, Record) and value.masked_as:
        yield Permission(value.masked_as, UNMASK)
