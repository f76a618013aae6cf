"""Three sides of a record: what the target has, what we have, and what both agreed on last."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

State = Mapping[str, Any]

THEIRS: Mapping[str, frozenset[str]] = {"task": frozenset({"status", "progress", "completed_at"})}
"""entity → fields that are the target's where both sides changed them; any other field is ours."""

_ABSENT = object()


def same(one: Any, other: Any) -> bool:
    """Tell whether two canonical values are equal; two texts of one instant (RFC 3339) are."""
    if one == other:
        return True
    return isinstance(one, str) and isinstance(other, str) and _instant(one) == _instant(other) is not None


def _instant(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def changed(state: State, known: State | None) -> list[str] | None:
    """Return the fields of `state` that differ from what was known, in order of name; None when nothing was known."""
    if known is None:
        return None
    return sorted(name for name in state if not same(state[name], known.get(name, _ABSENT)))


def agreed(base: State | None, seen: State, ours: State) -> dict[str, Any]:
    """Return what both sides agree on once the hub has taken in what was seen: where it did, the new value."""
    return dict(base or {}) | {name: value for name, value in seen.items() if same(ours.get(name, _ABSENT), value)}


@dataclass(frozen=True)
class Merged:
    """A record of both sides; `kept` names the fields in which it is the target's."""

    body: dict[str, Any]
    kept: tuple[str, ...]


def merge(base: State | None, theirs: State, ours: State, owned: Collection[str]) -> Merged:
    """Return `ours` with what the target alone has changed since both agreed, field by field.

    Args:
        base: what both agreed on last; None counts every difference as a change of both.
        theirs: the record as the target has it now.
        ours: the record as we have it.
        owned: fields in which the target wins when both changed them.
    """
    before = base or {}
    kept = []
    for name in sorted(theirs.keys() & ours.keys()):
        if same(theirs[name], ours[name]) or (name in before and same(theirs[name], before[name])):
            continue
        if name in owned or (name in before and same(ours[name], before[name])):
            kept.append(name)
    return Merged({**ours, **{name: theirs[name] for name in kept}}, tuple(kept))
