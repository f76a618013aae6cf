"""Three sides of a record: what the target has, what we have, and what both agreed on last.

Where one side alone has changed a field, the other follows. Where both have, the field's owner decides.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

State = Mapping[str, Any]
Owner = Literal["local", "remote", "latest", "manual"]
"""Whose a field is that both sides have changed: ours, the target's, that of the side which changed its record last, or
nobody's before a person has decided."""
OWNERS: tuple[Owner, ...] = get_args(Owner)

USUAL: Mapping[str, Mapping[str, Owner]] = {
    "task": {"status": "remote", "progress": "remote", "completed_at": "remote"}}
"""Entity → field → owner, unless the route says otherwise; any other field is ours."""

_ABSENT = object()


def owners_of(entity: str, said: Mapping[str, Owner]) -> dict[str, Owner]:
    """Return who owns the fields of an entity's records, given what a route says; a field not named is ours."""
    return {**USUAL.get(entity, {}), **said}


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
    """A record of both sides.

    Attributes:
        body: as it is to stand at the target.
        kept: fields in which it is the target's; their owner here is to follow.
        overruled: fields that both changed, and that are ours.
        disputed: fields that both changed, and that a person decides: until then each side keeps its own.
    """

    body: dict[str, Any]
    kept: tuple[str, ...] = ()
    overruled: tuple[str, ...] = ()
    disputed: tuple[str, ...] = ()


def merge(base: State | None, theirs: State, ours: State, owners: Mapping[str, Owner], *, theirs_is_later: bool = False,
          left: Collection[str] = ()) -> Merged:
    """Return `ours` with what the target alone has changed since both agreed, field by field.

    Args:
        base: what both agreed on last; None counts every difference as a change of both.
        theirs: the record as the target has it now.
        ours: the record as we have it.
        owners: as `owners_of` returns them.
        theirs_is_later: whether the target's record was changed after ours.
        left: fields that are left as they stand there, whoever changed them.
    """
    before = base or {}
    found: dict[str, list[str]] = {"ours": [], "theirs": [], "nobody's": []}
    for name in sorted((theirs.keys() & ours.keys()) - set(left)):
        if same(theirs[name], ours[name]) or (name in before and same(theirs[name], before[name])):
            continue
        alone = name in before and same(ours[name], before[name])
        found["theirs" if alone else _whose(owners.get(name, "local"), theirs_is_later)].append(name)
    stays = {*found["theirs"], *found["nobody's"], *(theirs.keys() & ours.keys() & set(left))}
    return Merged({**ours, **{name: theirs[name] for name in stays}}, kept=tuple(found["theirs"]),
                  overruled=tuple(found["ours"]), disputed=tuple(found["nobody's"]))


def _whose(owner: Owner, theirs_is_later: bool) -> str:
    if owner == "latest":
        return "theirs" if theirs_is_later else "ours"
    return {"local": "ours", "remote": "theirs", "manual": "nobody's"}[owner]


def is_later(theirs: dt.datetime | None, ours: dt.datetime | None) -> bool:
    """Tell whether their side changed a record after ours, by what each side's clock says; at a tie it did not.

    A target that does not tell when has changed it only when the hub comes upon it.
    """
    return theirs is None or ours is None or theirs > ours
