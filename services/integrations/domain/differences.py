"""In which fields a record stands otherwise at a target than it should."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]


def differing(expected: Json, standing: Json) -> list[str]:
    """Return the names of the fields that differ, those of nested records as `address.city`.

    Only what is expected is looked at: all else there is not the hub's. A field that is left out there is null.
    """
    return sorted(_differing(expected, standing, ""))


def _differing(expected: Json, standing: Json, path: str) -> list[str]:
    found: list[str] = []
    for name, ours in expected.items():
        theirs = standing.get(name)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            found += _differing(ours, theirs, f"{path}{name}.")
        elif ours != theirs:
            found.append(f"{path}{name}")
    return found


def values(record: Json, names: list[str]) -> dict[str, Any]:
    """Return the values of the fields that `differing` has named."""
    return {name: _value(record, name) for name in names}


def _value(record: Any, name: str) -> Any:
    first, _, rest = name.partition(".")
    if not isinstance(record, Mapping):
        return None
    return _value(record.get(first), rest) if rest else record.get(first)
